"""The hub's durable store: intake, and sealed batches until a receipt covers them."""

import zlib
from collections.abc import Callable, Collection, Iterable
from collections.abc import Sequence as Listed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.room import Room, disk_free_bytes
from edge_agent.adapters.sqlite import Connect, Database, Lock, connect, named_statements
from edge_agent.core.recent import Recent
from edge_agent.core.rows import Rows
from edge_agent.core.scoring import Scores, unscored
from edge_agent.core.spooled import Spooled, Urgency
from edge_agent.core.thin import minutes
from edge_agent.ports import Change, Kept, SpoolFullError, SpoolMismatchError, Undated
from wire import codec
from wire.batch import NO_FLOOR, Batch, Flag, Kind, Seal, Tombstone
from wire.control import Held
from wire.errors import DamagedBatchError
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence, UnixMs
from wire.limits import EPOCH_BITS, EPOCHS_PER_HELLO_MAX, RANGES_PER_RECEIPT_MAX
from wire.metric import METRICS
from wire.quality import Quality
from wire.ranges import Ranges

LIVE_MS: Final = 60_000
"""A batch is live for a minute after it was sealed in this life; then it is backlog."""
YOUNG_MS: Final = 3_600_000
"""Evidence is young for an hour after it was sealed, by steady time: wall clocks may be wrong."""
QUARANTINE_MAX: Final = 256
"""So many refused batches are kept for people to look at; older ones make way."""
_MEASURE_EVERY: Final = 64
_NEVER: Final = 2**63 - 1
_STATEMENTS: Final = named_statements(Path(__file__).with_suffix(".sql"))
_ABSENT: Final = np.full(METRICS, np.nan, np.float32).tobytes()


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """What a spool is told.

    Attributes:
        folder: The data directory; made if absent, owned by one agent at a time.
        hub_id: Whose batches these are.
        region: Where the hub stands.
        bytes_max: Cap of the file.
        floor_ms: Floor of every batch if this hub sends history on purpose, else None.
    """

    folder: Path
    hub_id: HubId
    region: Region
    bytes_max: int
    floor_ms: UnixMs | None = None


class SqliteSpool:
    """Implements ``BatchStore`` and ``IntakeStore``. Not for use by two threads."""

    def __init__(
        self,
        settings: SpoolSettings,
        randbits: Callable[[int], int],
        *,
        connect: Connect = connect,
        free_bytes: Callable[[Path], int] = disk_free_bytes,
    ) -> None:
        """Lock the data directory, open the spool in it and begin a new life.

        Args:
            settings: See there.
            randbits: ``secrets.randbits``, or a test's own.
            connect: How a file is opened.
            free_bytes: What the disk under a folder has left.

        Raises:
            SpoolLockedError: Another agent owns the directory.
            SpoolMismatchError: It is another hub's.
            SpoolFaultError: The disk cannot serve it.
        """
        self._settings, self._randbits = settings, randbits
        self._connect, self._free_bytes = connect, free_bytes
        self.faults = self.batches_damaged = 0
        self._lock = Lock(settings.folder)
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise

    def __repr__(self) -> str:
        """Show whose it is and how it fares."""
        state = "open" if self._database.whole else "faulty"
        return f"SqliteSpool({self._settings.hub_id}, epoch={self.epoch}, {state})"

    @property
    def epoch(self) -> Epoch:
        """See ``BatchStore``."""
        return self._epoch

    @property
    def whole(self) -> bool:
        """See ``IntakeStore``."""
        return self._database.whole

    def close(self) -> None:
        """Close the file and let the data directory go."""
        self._database.close()
        self._lock.release()

    def reopen(self) -> None:
        """See ``IntakeStore``."""
        self.faults += 1
        self._database.close()
        self._begin()
        self._database.verify()

    def load(self) -> Kept:
        """See ``IntakeStore``."""
        held = self._database.all("intake")
        rows = _rows([(row[0], row[1], row[2], row[4]) for row in held])
        chunks = [_unpacked(blob) for _, blob in self._database.all("emitted")]
        emitted = np.concatenate([np.empty((2, 0), np.int64), *chunks], axis=1)
        floors = np.array(self._database.all("floors"), np.int64).reshape(-1, 2).T
        return Kept(
            rows,
            np.array([row[3] for row in held], np.bool_),
            (emitted[0], emitted[1]),
            (floors[0], floors[1]),
        )

    def undated(self, limit: int) -> Undated:
        """See ``IntakeStore``."""
        found = self._database.all("undated", limit + 1)
        first = found[:limit]
        return Undated(
            _rows([(row[2], row[3], row[4], row[5]) for row in first]),
            np.array([row[0] for row in first], np.int64),
            np.array([row[1] for row in first], np.str_),
            dict(self._database.all("boots")),
            len(found) > limit,
        )

    def apply(self, change: Change, steady_ms: int) -> Listed[BatchKey]:
        """See ``IntakeStore``."""
        self._watch_room()
        keys = self._written(change)
        self._grow_older(steady_ms, len(keys))
        return keys

    def forget(self, sensor_ids: NDArray[np.int64], floor_ms: NDArray[np.int64]) -> None:
        """See ``IntakeStore``."""
        order = np.argsort(sensor_ids)
        ids, floors = sensor_ids[order], floor_ms[order]
        through = -1
        for number, blob in self._database.all("emitted"):
            whose, at_ms = _unpacked(blob)
            if (at_ms >= floors[np.searchsorted(ids, whose)]).any():
                break
            through = number
        with self._database.transaction():
            self._database.run("forget_emitted", through)
            self._database.run_many("floor", zip(ids.tolist(), floors.tolist(), strict=True))

    def waiting(self, limit: int, besides: Collection[BatchKey]) -> Listed[Spooled]:
        """See ``BatchStore``."""
        out, enough = set(besides), limit + len(besides)
        live_from = self._live.number if self._settings.floor_ms is None else _NEVER
        lines = (
            (Urgency.URGENT, "urgent", (enough,)),
            (Urgency.LIVE, "live", (live_from, enough)),
            (Urgency.BACKLOG, "backlog", (live_from, enough)),
        )
        found: list[Spooled] = []
        for urgency, name, values in lines:
            if len(found) < limit:
                rows = self._database.all(name, *values)
                batches = (Spooled(self._key(row[0], row[1]), urgency, row[2]) for row in rows)
                found += (batch for batch in batches if batch.key not in out)
        return found[:limit]

    def body(self, key: BatchKey) -> bytes | None:
        """See ``BatchStore``."""
        found = self._database.all("body", key.epoch, key.sequence)
        if not found or key.hub_id != self._settings.hub_id:
            return None
        for (body,) in found:
            with suppress(DamagedBatchError):
                codec.verify(body)
                self._room.sent(key)
                return bytes(body)
        self._bury_rotten(key)
        return None

    def held(self) -> tuple[Held, ...]:
        """See ``BatchStore``."""
        self._database.run("forget_lives", self._epoch)
        return tuple(
            Held(
                Epoch(epoch),
                next_sequence,
                tuple(self._database.all("held", epoch, RANGES_PER_RECEIPT_MAX)),
            )
            for epoch, next_sequence in self._database.all(
                "lives", self._epoch, EPOCHS_PER_HELLO_MAX
            )
        )

    def settle(self, epoch: Epoch, received: Ranges, refused: Ranges) -> int:
        """See ``BatchStore``."""
        with self._database.transaction():
            for low, high in refused:
                if self._database.run("quarantine", epoch, low, high) > 0:
                    self._database.run("bound_quarantine", QUARANTINE_MAX)
            return sum(self._database.run("forget", epoch, low, high) for low, high in received)

    def gauges(self) -> dict[str, int]:
        """Return how full and how well the spool is, for health."""
        batches, intake, undated, quarantined = self._database.all("depths")[0]
        return {
            "spool_bytes": self._room.bytes_used,
            "spool_bytes_max": self._room.bytes_cap,
            "spool_batches": batches,
            "spool_intake": intake,
            "spool_undated": undated,
            "spool_quarantined": quarantined,
            "spool_faults": self.faults,
            "spool_batches_thinned": self._room.batches_thinned,
            "spool_batches_shed": self._room.batches_shed,
            "spool_rows_shed": self._room.rows_shed,
            "spool_batches_damaged": self.batches_damaged,
        }

    def _begin(self) -> None:
        """Open the file; draw this life's epoch and write it before anything else."""
        folder, hub_id = self._settings.folder, self._settings.hub_id
        self._database = Database(folder / "spool.db", _STATEMENTS, self._connect)
        try:
            owner = self._database.read("select hub_id from hub")
            if owner and owner != [(hub_id,)]:
                raise SpoolMismatchError(f"{folder} holds the spool of {owner[0][0]}, not {hub_id}")
            self._epoch = Epoch(self._randbits(EPOCH_BITS))
            with self._database.transaction():
                self._database.read("insert or ignore into hub values (?)", hub_id)
                self._database.run("begin_life", self._epoch)
        except BaseException:
            self._database.close()
            raise
        self._room = Room(
            self._database, self._settings.bytes_max, lambda: self._free_bytes(folder)
        )
        self._live = Recent(LIVE_MS, self._newest() + 1)
        self._young = Recent(YOUNG_MS, 0)  # what earlier lives left may be from just now
        self._applied = 0

    def _watch_room(self) -> None:
        self._applied += 1
        if self._applied % _MEASURE_EVERY == 0:
            self._room.measure()
        if self._room.short():
            self._make_room()

    def _make_room(self) -> bool:
        return self._room.make(self._next_seal, self._put_tombstone, self._young.number)

    def _written(self, change: Change) -> list[BatchKey]:
        """Write the change, making room as often as there is any to make."""
        while True:
            try:
                with self._database.transaction():
                    return self._write(change)
            except SpoolFullError:
                self._room.measure()
                if not self._make_room():
                    raise

    def _write(self, change: Change) -> list[BatchKey]:
        run, run_many = self._database.run, self._database.run_many
        if change.suspect:
            run("suspect", int(Quality.TIME_SUSPECT))
        if len(change.taken):
            run_many("take", _columns(change.taken, change.stamped))
        if len(change.undated):
            run_many("keep_undated", ((change.boot, *row) for row in _columns(change.undated)))
        if change.dated_through:
            run("dated", change.dated_through)
        keys = [self._seal(Kind.EVIDENCE, rows, unscored(rows)) for rows in change.evidence]
        scored = zip(change.routine, change.scores, strict=True)
        keys += [self._seal(Kind.ROUTINE, rows, scores) for rows, scores in scored]
        if len(change.sealed):
            whose, at_ms = change.sealed.sensor_ids, change.sealed.observed_at_ms
            run_many("clear", zip(whose.tolist(), at_ms.tolist(), strict=True))
            run("emit", _packed(whose, at_ms))
        return keys

    def _seal(self, kind: Kind, rows: Rows, scores: Scores) -> BatchKey:
        seal = self._next_seal(kind)
        batch = Batch(
            seal,
            rows.sensor_ids,
            rows.observed_at_ms,
            rows.values,
            rows.quality,
            scores,
            rows.samples,
        )
        span = (int(rows.observed_at_ms.min()), int(rows.observed_at_ms.max()))
        self._put(seal, len(minutes(rows)) == len(rows), (len(rows), *span), codec.encode(batch))
        return seal.key

    def _next_seal(self, kind: Kind = Kind.SHED) -> Seal:
        """Return the seal of the next batch; its sequence is taken when the batch is put."""
        next_sequence = self._database.all("next_sequence", self._epoch)[0][0]
        floor_ms = self._settings.floor_ms
        return Seal(
            self._key(self._epoch, next_sequence),
            self._settings.region,
            kind,
            Flag.NONE if floor_ms is None else Flag.BACKFILL,
            NO_FLOOR if floor_ms is None else floor_ms,
        )

    def _put(self, seal: Seal, thin: bool, seen: tuple[int, int, int], body: bytes) -> None:
        epoch, sequence = seal.key.epoch, seal.key.sequence
        marks = (int(seal.kind), int(thin))
        self._database.run("seal", epoch, sequence, *marks, *seen, len(body), body)
        self._database.run("advance", sequence + 1, epoch)

    def _put_tombstone(self, stone: Tombstone) -> None:
        seen = (stone.rows, stone.observed_from_ms, stone.observed_to_ms)
        body = codec.encode(stone)
        self._put(stone.seal, True, seen, body)
        self._database.run("keep_twice", stone.key.epoch, stone.key.sequence, body)

    def _bury_rotten(self, key: BatchKey) -> None:
        rows, oldest, newest, _ = self._database.all("named", key.epoch, key.sequence)[0]
        lost = (key.epoch, key.sequence, key.sequence + 1)
        seen = (rows, oldest, newest)
        with self._room.transaction():
            seal, put = self._next_seal(), self._put_tombstone
            self._room.bury(lost, seen, "damaged on the hub's disk", seal, put)
        self.batches_damaged += 1

    def _grow_older(self, steady_ms: int, sealed: int) -> None:
        """Let batches be live for a minute, and evidence young for an hour."""
        following = self._newest() - sealed + 1
        self._live.note(steady_ms, following)
        self._young.note(steady_ms, following)

    def _newest(self) -> int:
        found = self._database.read("select seq from sqlite_sequence where name = 'batches'")
        return int(found[0][0]) if found else 0

    def _key(self, epoch: int, sequence: int) -> BatchKey:
        return BatchKey(self._settings.hub_id, Epoch(epoch), Sequence(sequence))


def _columns(rows: Rows, *further: NDArray[np.bool_]) -> Iterable[tuple[object, ...]]:
    """Return rows as SQLite takes them: the values of one row are one blob."""
    measured = np.ascontiguousarray(rows.values, "<f4").view(f"V{4 * METRICS}").ravel()
    columns: tuple[NDArray[Any], ...] = (
        rows.sensor_ids,
        rows.observed_at_ms,
        rows.quality,
        *further,
        measured,
    )
    return zip(*(column.tolist() for column in columns), strict=True)


def _rows(found: list[tuple[int, int, int, bytes]]) -> Rows:
    """Return rows as columns; a metric younger than the row was not measured."""
    blobs = (row[3] + _ABSENT[len(row[3]) :] for row in found)
    marks = np.array([row[:3] for row in found], np.int64).reshape(-1, 3)
    return Rows(
        marks[:, 0],
        marks[:, 1],
        np.frombuffer(b"".join(blobs), "<f4").astype(np.float32).reshape(-1, METRICS),
        marks[:, 2].astype(np.int16),
        np.ones(len(marks), np.int32),
    )


def _packed(sensor_ids: NDArray[np.int64], at_ms: NDArray[np.int64]) -> bytes:
    order = np.lexsort((at_ms, sensor_ids))
    columns = np.stack([sensor_ids[order], at_ms[order]])
    return zlib.compress(np.diff(columns, prepend=0).astype("<i8").tobytes(), 1)


def _unpacked(blob: bytes) -> NDArray[np.int64]:
    """Return shape ``(2, n)``: sensor ids, times."""
    differences = np.frombuffer(zlib.decompress(blob), "<i8").reshape(2, -1)
    return np.cumsum(differences, axis=1, dtype=np.int64)
