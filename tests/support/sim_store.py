"""One store for the whole river: the twins of ingest, detect and alert over the same tables.

Every await may fail or take a moment, a commit's answer may be lost, and whoever asks may die.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.core.arrivals import Life, Parcel
from cloud.core.detect_ledger import (
    OVERDUE_MS,
    Advance,
    Committed,
    Due,
    Logged,
    Remembered,
    Superseded,
)
from cloud.core.detect_rows import Rows, as_rows
from tests.support.builders import NOON
from tests.support.cloud import MemoryStore, MemoryTransaction, give_way
from tests.support.detect import MemoryDetect
from tests.support.sim_life import NeighbourAwayError, Weather, step
from tests.support.virtual_time import VirtualClock
from wire import ranges
from wire.batch import Batch, Kind
from wire.ids import BatchKey, HubId, UnixMs
from wire.metric import METRICS

_SLOW_SHARE = 0.05
_SLOW_S = 0.05


class RiverStore(MemoryStore):
    """``cloud.ports.Store`` that remembers what it logged."""

    def __init__(self, weather: Weather, clock: VirtualClock) -> None:
        super().__init__(pause=self._pause)
        self.weather, self.clock = weather, clock
        self.parcels: dict[tuple[BatchKey, int], tuple[Parcel, int]] = {}

    def transaction(self) -> "RiverTransaction":
        return RiverTransaction(self)

    async def _pause(self) -> None:
        weather = self.weather
        step()
        if weather.strikes(weather.faults.store):
            weather.note("the store is away")
            raise NeighbourAwayError("the store is away")
        if weather.strikes(_SLOW_SHARE if weather.faults.store else 0.0):
            await asyncio.sleep(_SLOW_S * weather.dice.random())
        else:
            await give_way()
        step()

    def logged(self, key: BatchKey) -> tuple[Parcel, int]:
        """Return the content committed under a key, and when."""
        ((crc, _),) = self.tables.log[key]
        return self.parcels[key, crc]


class RiverTransaction(MemoryTransaction):
    """``cloud.ports.Transaction``."""

    async def add_log(self, parcels: Sequence[Parcel]) -> None:
        await super().add_log(parcels)
        store = self._store
        assert isinstance(store, RiverStore)
        for parcel in parcels:
            store.parcels[parcel.key, parcel.crc] = parcel, store.clock.now_ms()


class RiverTables(MemoryDetect):
    """``DetectStore`` and ``AlertStore`` over what ingest stored."""

    def __init__(self, store: RiverStore) -> None:
        super().__init__()
        self._river = store
        self._alone = asyncio.Lock()

    def step(self) -> None:
        weather = self._river.weather
        step()
        if weather.strikes(weather.faults.store):
            weather.note("the store is away")
            raise NeighbourAwayError("the store is away")

    async def remembered(self, hub_id: HubId) -> Remembered:
        await give_way()
        return await super().remembered(hub_id)

    async def commit(self, advances: Sequence[Advance]) -> Committed | Superseded:
        await give_way()
        outcome = await super().commit(advances)
        await give_way()
        step()
        return outcome

    async def foreign(self, hub_id: HubId, sensor_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        await give_way()
        self.owners = self._river.tables.sensors
        return await super().foreign(hub_id, sensor_ids)

    async def due(self) -> Sequence[Due]:
        await give_way()
        self.step()
        return self.due_now()

    def due_now(self) -> list[Due]:
        """Return what is received, neither refused nor shed, and not evaluated."""
        due = []
        for life, entry in sorted(self._river.tables.ledger.items()):
            done = self.evaluated.get((life.hub_id, life.epoch), ())
            settled = ranges.normal((*entry.refused, *entry.shed, *done))
            left = ranges.minus(entry.received, settled)
            if left:
                due.append(Due(life.hub_id, life.epoch, left))
        return due

    async def logged(self, due: Due, limit: int) -> Sequence[Logged]:
        await give_way()
        self.step()
        life = Life(due.hub_id, due.epoch)
        keys = sorted(
            key
            for key in self._river.tables.log
            if key[:2] == life and ranges.contains(due.sequences, key.sequence)
        )
        return [self._line(key) for key in keys[:limit]]

    def _line(self, key: BatchKey) -> Logged:
        parcel, stored_at_ms = self._river.logged(key)
        span = (NOON, NOON)
        if isinstance(parcel.content, Batch):
            times = parcel.content.observed_at_ms
            span = UnixMs(int(times.min())), UnixMs(int(times.max()))
        overdue = self._river.clock.now_ms() - stored_at_ms > OVERDUE_MS
        seal = parcel.seal
        return Logged(key, seal.kind, seal.flags, *span, parcel.received_at_ms, overdue)

    async def readings(self, batch: Logged) -> Rows:
        await give_way()
        self.step()
        tables = self._river.tables
        rows = tables.evidence if batch.kind is Kind.EVIDENCE else tables.readings
        found = sorted(
            (sensor, at_ms, row)
            for (sensor, at_ms), row in rows.items()
            if batch.observed_from_ms <= at_ms <= batch.observed_to_ms
            and tables.sensors.get(sensor) == batch.key.hub_id
        )
        values = np.array([row[0] for *_, row in found], np.float32).reshape(-1, METRICS)
        return as_rows(
            np.array([sensor for sensor, *_ in found], np.int64),
            np.array([at_ms for _, at_ms, _ in found], np.int64),
            values,
            np.array([row[1] for *_, row in found], np.int16),
            np.array([row[3] for *_, row in found], np.int32),
            history=False,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._alone:
            await give_way()
            async with super().transaction() as work:
                yield work
                await give_way()
            step()
