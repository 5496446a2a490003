"""The spool at its cap: thin oldest-first, and only then shed, under a tombstone.

Evidence of the last hour is shed after everything else. It is what an alert is made of, and by then
the routine rows that say the same have been merged into minutes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge_agent.adapters.sqlite import LOG_BYTES_MAX, PAGE_BYTES, Database
from edge_agent.core.thin import thinned
from wire import codec
from wire.batch import Batch, Kind, Seal, Tombstone
from wire.errors import MalformedBatchError
from wire.ids import BatchKey, Epoch, UnixMs
from wire.limits import BATCH_BYTES_MAX, MIB

PAGES_MIN: Final = 128
"""No cap is lower: the tables themselves and the largest batch must fit."""
DISK_RESERVE_BYTES: Final = 2 * LOG_BYTES_MAX + 8 * MIB
"""Left to the log and to the rest of the machine, whatever the cap."""
GRAVES_SHARE: Final = 16
"""Nothing sheds a tombstone, and shedding around evidence leaves one a gap: beyond one for so many
pages of the cap, age alone decides what goes."""
_AT_A_TIME: Final = 16
_EVERY_NUMBER: Final = 2**63 - 1

assert PAGES_MIN * PAGE_BYTES >= 2 * BATCH_BYTES_MAX


def disk_free_bytes(folder: Path) -> int:
    """Return how much more the disk under ``folder`` takes."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class Room:
    """Keeps the file below its cap, and the cap below the free disk.

    SQLite refuses even a delete on a full disk, but not at ``max_page_count``: so that one is met
    first, always.
    """

    def __init__(self, database: Database, bytes_max: int, free_bytes: Callable[[], int]) -> None:
        self._database = database
        self._bytes_max = bytes_max
        self._free_bytes = free_bytes
        self._growing: dict[tuple[Epoch, int, str], Tombstone] = {}  # by where they end
        self.batches_thinned = self.rows_shed = self.batches_shed = 0
        self.measure()

    @property
    def bytes_used(self) -> int:
        """Bytes in use inside the file."""
        used = self._database.number("page_count") - self._database.number("freelist_count")
        return used * PAGE_BYTES

    @property
    def bytes_cap(self) -> int:
        """Bytes the file may take."""
        return self._pages_max * PAGE_BYTES

    def measure(self) -> None:
        """Set the cap by what the disk has left."""
        present = self._database.number("page_count") * PAGE_BYTES
        affordable = present + self._free_bytes() - DISK_RESERVE_BYTES
        pages = max(PAGES_MIN, min(self._bytes_max, affordable) // PAGE_BYTES)
        self._pages_max = self._database.number(f"max_page_count = {pages}")

    def short(self) -> bool:
        """Return whether less than an eighth is left."""
        return self.bytes_used > self.bytes_cap - self.bytes_cap // 8

    def make(
        self, seal: Callable[[], Seal], put: Callable[[Tombstone], None], young_from: int
    ) -> bool:
        """Thin or shed a few of the oldest batches; return whether there were any.

        Args:
            seal: Returns the next key's seal, for a tombstone; not yet taken.
            put: Stores a tombstone under it.
            young_from: Evidence with this number or a later one is shed last.
        """
        with self.transaction():
            return self._thin() or self._shed(seal, put, young_from)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Wrap ``bury``: should it fail, no tombstone is taken for one that can still grow."""
        try:
            with self._database.transaction():
                yield
        except BaseException:
            self._growing.clear()
            raise

    def bury(
        self,
        lost: tuple[Epoch, int, int],
        seen: tuple[int, int, int],
        reason: str,
        seal: Seal,
        put: Callable[[Tombstone], None],
    ) -> None:
        """Forget batches ``[low, high)`` of an epoch and leave a tombstone; inside ``transaction``.

        A tombstone nobody was sent yet grows with its neighbours, under its own key.

        Args:
            lost: Epoch, low, high.
            seen: Rows lost, oldest and newest instant.
            reason: For people.
            seal: Of a new tombstone.
            put: Stores a new one.
        """
        (epoch, low, high), (rows, oldest, newest) = lost, seen
        self._database.run("forget", epoch, low, high)
        self.rows_shed += rows
        self.batches_shed += high - low
        grave = self._growing.pop((epoch, low, reason), None)
        if grave is None:
            times = (UnixMs(oldest), UnixMs(newest))
            grave = Tombstone(seal, epoch, low, high, *times, rows, reason)
            put(grave)
        else:
            grave = replace(
                grave,
                high=high,
                observed_from_ms=UnixMs(min(oldest, grave.observed_from_ms)),
                observed_to_ms=UnixMs(max(newest, grave.observed_to_ms)),
                rows=grave.rows + rows,
            )
            self._widen(grave)
        self._growing[epoch, high, reason] = grave

    def sent(self, key: BatchKey) -> None:
        """Note that a batch left the spool: if it is a tombstone, it grows no more."""
        for end in [end for end, grave in self._growing.items() if grave.key == key]:
            del self._growing[end]

    def _widen(self, stone: Tombstone) -> None:
        body = codec.encode(stone)
        times = (stone.observed_from_ms, stone.observed_to_ms)
        key = (stone.key.epoch, stone.key.sequence)
        self._database.run("widen", stone.rows, *times, len(body), body, *key)
        self._database.run("keep_twice", *key, body)

    def _thin(self) -> bool:
        found = self._database.all("raw", _AT_A_TIME)
        for number, body in found:
            thin = _thinned(body)
            if thin is None:
                self._database.run("leave_raw", number)
            else:
                smaller = codec.encode(thin)
                self._database.run("thin", len(thin), len(smaller), smaller, number)
                self.batches_thinned += 1
        return bool(found)

    def _shed(
        self, seal: Callable[[], Seal], put: Callable[[Tombstone], None], young_from: int
    ) -> bool:
        if self._database.all("graves")[0][0] * GRAVES_SHARE >= self._pages_max:
            young_from = _EVERY_NUMBER
        oldest = self._database.all("oldest", young_from, _AT_A_TIME)
        oldest = oldest or self._database.all("oldest", _EVERY_NUMBER, _AT_A_TIME)
        for run in _runs(oldest):
            rows = sum(row[2] for row in run)
            seen = (rows, min(row[3] for row in run), max(row[4] for row in run))
            lost = (Epoch(run[0][0]), run[0][1], run[-1][1] + 1)
            self.bury(lost, seen, "no room in the hub's spool", seal(), put)
        return bool(oldest)


def _runs(batches: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Split batches, epoch and sequence first, where the next one is not the next sequence."""
    runs: list[list[tuple[int, ...]]] = []
    after = None
    for batch in batches:
        if batch[:2] != after:
            runs.append([])
        runs[-1].append(batch)
        after = (batch[0], batch[1] + 1)
    return runs


def _thinned(body: bytes) -> Batch | None:
    try:
        batch = codec.decode(body)
    except MalformedBatchError:
        return None  # whoever sends it will find it rotten and bury it
    assert isinstance(batch, Batch)
    assert batch.seal.kind is Kind.ROUTINE
    return thinned(batch)
