"""The store's memory twin: committed state, transactions that overlay it, locks that wait.

Every method gives way once before it acts, so a scheduler may interleave or end transactions
between any two awaits. Waiting for a lock is giving way until it is free; a transaction that waits
for ever is a deadlock and fails as PostgreSQL's would.
"""

import types
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from cloud.core.arrivals import KEY_REUSE, DeadLetter, Life, Parcel
from cloud.core.detect_state import SENSORS_PER_HUB_MAX
from cloud.core.ledger import Entry
from cloud.core.rows import Rows
from cloud.ports import DEAD_LETTERS_PER_HUB_MAX, NOBODY
from tests.support.builders import NOON, NORTH
from wire.batch import Batch, Flag, Tombstone
from wire.codec import encode
from wire.doors import EVERY_DOOR
from wire.errors import InfrastructureError
from wire.ids import BatchKey, Epoch, HubId, Region, SensorId, UnixMs
from wire.metric import METRICS
from wire.topics import Channel, topic

Pause: TypeAlias = Callable[[], Awaitable[None]]
Instant: TypeAlias = tuple[int, int]
Row: TypeAlias = tuple[tuple[float | None, ...], int, float | None, int]
Shed: TypeAlias = tuple[Epoch, int, int, int, int, int, str]
"""Whose sequences, low, high, observed from and to (ms), rows, reason."""

STORE = UUID("3f1c2a54-0000-4000-8000-00000000000a")
WAITS_MAX = 1_000
HOUR_MS = 3_600_000


class StoppedClock:
    """Noon, for ever."""

    def now_ms(self) -> UnixMs:
        return NOON

    def steady_ms(self) -> int:
        return 0

    async def sleep_ms(self, wait_ms: int) -> None:
        raise AssertionError("nothing here sleeps")


@types.coroutine
def give_way() -> Generator[None, None, None]:
    """Let others run: once round the event loop, or back to whoever steps the coroutine."""
    yield


@dataclass
class Tables:
    """What is in the store. ``conflicts`` and ``refused`` key rows by instant and batch."""

    readings: dict[Instant, Row] = field(default_factory=dict)
    evidence: dict[Instant, Row] = field(default_factory=dict)
    conflicts: dict[tuple[Instant, BatchKey], Row] = field(default_factory=dict)
    refused: dict[tuple[Instant, BatchKey], str] = field(default_factory=dict)
    log: dict[BatchKey, list[tuple[int, bool]]] = field(default_factory=dict)
    dead: dict[tuple[BatchKey, int], DeadLetter] = field(default_factory=dict)
    attempts: Counter[tuple[BatchKey, int]] = field(default_factory=Counter)
    decided: dict[tuple[BatchKey, int], tuple[str, str]] = field(default_factory=dict)
    sheds: dict[BatchKey, Shed] = field(default_factory=dict)
    ledger: dict[Life, Entry] = field(default_factory=dict)
    sensors: dict[int, HubId] = field(default_factory=dict)
    months: set[str] = field(default_factory=set)

    def copy(self) -> "Tables":
        """Return the same rows in tables of their own."""
        copied = type(self)(*(getattr(self, each.name).copy() for each in fields(self)))
        copied.log = {key: list(contents) for key, contents in self.log.items()}
        return copied

    def put(self, more: "Tables") -> None:
        """Write a transaction's changes."""
        for key, contents in more.log.items():
            self.log[key] = self.log.get(key, []) + contents
        self.attempts.update(more.attempts)
        for name in ("readings", "evidence", "conflicts", "refused", "dead", "sheds", "ledger"):
            getattr(self, name).update(getattr(more, name))
        self.decided.update(more.decided)


class MemoryStore:
    """See ``cloud.ports.Store``. ``failing`` makes the next so many commits fail."""

    def __init__(self, *, pause: Pause = give_way, now_ms: UnixMs = NOON) -> None:
        self.store_id = STORE
        self.pause = pause
        self.now_ms = now_ms
        self.tables = Tables()
        self.opened_at: dict[Life, UnixMs] = {}
        self.failing = 0
        self.commits = 0
        self.owners: dict[tuple[str, object], MemoryTransaction] = {}

    def transaction(self) -> "MemoryTransaction":
        return MemoryTransaction(self)

    async def ensure_months(self, instants_ms: Collection[UnixMs]) -> None:
        await self.pause()
        self.tables.months |= {_month(at_ms) for at_ms in instants_ms}

    async def claim(
        self, sensor_ids: NDArray[np.int64], hub_ids: Sequence[HubId], regions: Sequence[Region]
    ) -> list[HubId]:
        await self.pause()
        assert len(sensor_ids) == len(hub_ids) == len(regions)
        assert (np.diff(sensor_ids) > 0).all()
        sensors, held = self.tables.sensors, Counter(self.tables.sensors.values())
        for sensor_id, hub_id in zip(sensor_ids.tolist(), hub_ids, strict=True):
            room = hub_id == EVERY_DOOR or held[hub_id] < SENSORS_PER_HUB_MAX
            if sensor_id not in sensors and room:
                sensors[sensor_id] = hub_id
                held[hub_id] += 1
        return [sensors.get(sensor_id, NOBODY) for sensor_id in sensor_ids.tolist()]


class MemoryTransaction:
    """See ``cloud.ports.Transaction``."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._mine = Tables()
        self._saved: tuple[Tables, set[tuple[str, object]]] | None = None
        self._broken = False

    async def __aenter__(self) -> "MemoryTransaction":
        await self._store.pause()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Commit, or undo; a coroutine that is closed here undoes without giving way."""
        try:
            if kind is None:
                await self._store.pause()
                if self._store.failing:
                    self._store.failing -= 1
                    raise InfrastructureError("the twin was told to fail")
                self._store.tables.put(self._mine)
                self._store.commits += 1
                for life in self._mine.ledger:
                    self._store.opened_at.setdefault(life, self._store.now_ms)
        finally:
            self._release(set())
        if kind is None:
            await self._store.pause()  # the commit is done and nobody has heard of it

    async def entries(self, lives: Collection[Life]) -> dict[Life, Entry]:
        await self._store.pause()
        seen = self._store.tables.ledger | self._mine.ledger
        return {life: seen[life] for life in lives if life in seen}

    async def opened(self, hub_ids: Collection[HubId]) -> dict[HubId, int]:
        await self._store.pause()
        since = self._store.now_ms - HOUR_MS
        return dict(
            Counter(
                life.hub_id
                for life, at_ms in self._store.opened_at.items()
                if life.hub_id in hub_ids and at_ms > since
            )
        )

    async def contents(self, keys: Sequence[BatchKey]) -> dict[BatchKey, list[tuple[int, bool]]]:
        await self._store.pause()
        found = {}
        for key in keys:
            dead = [
                (crc, Flag.THINNED in letter.flags)
                for (of, crc), letter in self._store.tables.dead.items()
                if of == key
            ]
            if known := self._store.tables.log.get(key, []) + dead:
                found[key] = known
        return found

    async def savepoint(self) -> None:
        await self._store.pause()
        self._saved = (self._mine.copy(), self._held())

    async def roll_back(self) -> None:
        await self._store.pause()
        assert self._saved is not None, "no savepoint"
        self._mine, kept = self._saved[0].copy(), self._saved[1]
        self._release(kept)
        self._broken = False

    async def add_readings(self, rows: Rows) -> SensorId | None:
        for instant, row in self._checked(rows):
            assert _month(instant[1]) in self._store.tables.months, "no partition"
            await self._own(("reading", instant))
            if instant in self._store.tables.readings or instant in self._mine.readings:
                self._broken = True
                return SensorId(instant[0])
            self._mine.readings[instant] = row
        return None

    async def stored(self, rows: Rows) -> Rows:
        await self._store.pause()
        seen = self._store.tables.readings | self._mine.readings
        return _columns({at: seen[at] for at, _ in _rows(rows) if at in seen})

    async def add_evidence(self, rows: Rows) -> int:
        await self._store.pause()
        before = self._store.tables.evidence.keys() | self._mine.evidence.keys()
        new = {instant: row for instant, row in self._checked(rows) if instant not in before}
        self._mine.evidence.update(new)
        return len(new)

    async def add_log(self, parcels: Sequence[Parcel]) -> None:
        await self._store.pause()
        assert not self._broken, "the transaction must be rolled back first"
        for parcel in parcels:
            self._mine.log.setdefault(parcel.key, []).append((parcel.crc, parcel.thinned))

    async def add_refused(
        self, rows: Rows, reasons: Sequence[str], keys: Sequence[BatchKey]
    ) -> None:
        await self._store.pause()
        for (instant, _), batch, why in zip(_rows(rows), rows.batch.tolist(), reasons, strict=True):
            if (instant, keys[batch]) in self._store.tables.refused:
                raise InfrastructureError("another worker was faster")
            self._mine.refused[instant, keys[batch]] = why

    async def add_conflicts(self, rows: Rows, keys: Sequence[BatchKey]) -> None:
        await self._store.pause()
        for (instant, row), batch in zip(_rows(rows), rows.batch.tolist(), strict=True):
            self._mine.conflicts[instant, keys[batch]] = row

    async def add_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        await self._store.pause()
        dead = self._store.tables.dead | self._mine.dead
        decided = self._store.tables.decided | self._mine.decided
        held, unkept = Counter(key.hub_id for key, _ in dead.keys() - decided.keys()), 0
        for letter in sorted(letters, key=lambda each: (each.key, each.crc)):
            name = (letter.key, letter.crc)
            if name not in dead and held[letter.key.hub_id] >= DEAD_LETTERS_PER_HUB_MAX:
                unkept += 1
                continue
            held[letter.key.hub_id] += name not in dead
            if name in dead and letter.reason == KEY_REUSE:
                letter = replace(letter, reason=dead[name].reason)
            dead[name] = self._mine.dead[name] = letter
            self._mine.attempts[name] += letter.attempts
        return unkept

    async def add_sheds(self, tombstones: Sequence[Tombstone]) -> None:
        await self._store.pause()
        for lost in tombstones:
            span = (lost.observed_from_ms, lost.observed_to_ms)
            if lost.key not in self._store.tables.sheds:
                self._mine.sheds[lost.key] = (
                    *(lost.epoch, lost.low, lost.high),
                    *(*span, lost.rows, lost.reason),
                )

    async def lock(self, lives: Mapping[Life, Region]) -> dict[Life, Entry]:
        await self._store.pause()
        assert not self._broken, "the transaction must be rolled back first"
        seen = {}
        for life in sorted(lives):
            await self._own(("life", life))
            seen[life] = self._mine.ledger.get(life, self._store.tables.ledger.get(life, Entry()))
            self._mine.ledger[life] = seen[life]
        return seen

    async def settle(self, entries: Mapping[Life, Entry]) -> None:
        await self._store.pause()
        for life, entry in entries.items():
            assert ("life", life) in self._held(), "writes a ledger row it has not locked"
            self._mine.ledger[life] = replace(
                entry,
                next_sequence=max(entry.next_sequence, self._mine.ledger[life].next_sequence),
            )

    async def _own(self, what: tuple[str, object]) -> None:
        for _ in range(WAITS_MAX):
            await self._store.pause()
            if self._store.owners.setdefault(what, self) is self:
                return
        raise InfrastructureError("deadlock")

    def _held(self) -> set[tuple[str, object]]:
        return {what for what, owner in self._store.owners.items() if owner is self}

    def _release(self, kept: set[tuple[str, object]]) -> None:
        for what in self._held() - kept:
            del self._store.owners[what]

    def _checked(self, rows: Rows) -> list[tuple[Instant, Row]]:
        assert not self._broken, "the transaction must be rolled back first"
        found = _rows(rows)
        instants = [instant for instant, _ in found]
        assert instants == sorted(set(instants)), "rows are not sorted, each instant once"
        return found


def _rows(rows: Rows) -> list[tuple[Instant, Row]]:
    values = [tuple(_number(value) for value in row) for row in rows.wide().tolist()]
    return [
        ((sensor_id, at_ms), (value, quality, _number(score), samples))
        for sensor_id, at_ms, value, quality, score, samples in zip(
            rows.sensor_ids.tolist(),
            rows.observed_at_ms.tolist(),
            values,
            rows.quality.tolist(),
            rows.score.tolist(),
            rows.samples.tolist(),
            strict=True,
        )
    ]


def _columns(found: Mapping[Instant, Row]) -> Rows:
    ordered = sorted(found.items())
    values = np.array([row[0] for _, row in ordered], np.float32).reshape(-1, METRICS)
    return Rows(
        np.array([sensor_id for (sensor_id, _), _ in ordered], np.int64),
        np.array([at_ms for (_, at_ms), _ in ordered], np.int64),
        tuple(range(METRICS)),
        values.T,
        np.array([row[1] for _, row in ordered], np.int16),
        np.array([row[2] for _, row in ordered], np.float32),
        np.array([row[3] for _, row in ordered], np.int32),
        np.full(len(ordered), -1, np.int32),
    )


def _number(value: float) -> float | None:
    return None if value != value else value


@lru_cache(maxsize=1_024)
def _month(at_ms: int) -> str:
    return str(np.datetime64(at_ms, "ms").astype("M8[M]"))


@dataclass
class Lent:
    """A delivery that remembers whether it was acknowledged."""

    topic: str
    body: bytes
    received_at_ms: UnixMs = NOON
    acknowledged: bool = False

    async def ack(self) -> None:
        self.acknowledged = True


def a_delivery(batch: Batch, *, channel: Channel = Channel.BATCH) -> Lent:
    """Return a batch as it arrives on its hub's own topic."""
    return Lent(topic(NORTH, batch.key.hub_id, channel), encode(batch))
