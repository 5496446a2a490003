"""A flood of batches is legal, distinct, paced as told, and counts what the store says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import numpy as np
import pytest

from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.sealed import Load, sealed
from firmware_sim.flood.batches import IN_FLIGHT_MAX, VirtualHub, publish_all
from firmware_sim.ports import Session
from wire.batch import Batch
from wire.clock import SystemClock
from wire.codec import decode
from wire.control import Receipt, encode_receipt
from wire.ids import Epoch, HubId, Region, UnixMs
from wire.metric import impossible
from wire.topics import Channel, topic

WATER = Water(PROFILES[ProfileName.DRINKING], 1)
NORTH = Region("north")
LOAD = Load(sensors=20, rows=100, metrics=4, first_sensor_id=500, start_ms=1_767_268_800_000)


class MemoryCloud:
    """Takes batches, answers each with a receipt, doubled."""

    def __init__(self, deaf_to: frozenset[int] = frozenset()) -> None:
        self.taken: list[Batch] = []
        self.deaf_to = deaf_to
        self.in_flight = self.most_in_flight = 0
        self._replies: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    @asynccontextmanager
    async def session(self, filters: tuple[str, ...]) -> AsyncIterator[Session]:
        yield self

    async def publish(self, target: str, body: bytes) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        batch = decode(body)
        assert isinstance(batch, Batch)
        assert target == topic(batch.seal.region, batch.key.hub_id, Channel.BATCH)
        self.taken.append(batch)
        sequence = batch.key.sequence
        if sequence not in self.deaf_to:
            ranges = ((sequence, sequence + 1),)
            receipt = Receipt(UUID(int=1), batch.key.epoch, ranges, (), UnixMs(1))
            for _ in range(2):
                self._replies.put_nowait(("receipt", encode_receipt(receipt)))
        self.in_flight -= 1

    async def replies(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            yield await self._replies.get()


def hub(number: int, cloud: MemoryCloud, batches: int) -> VirtualHub:
    hub_id, epoch = HubId(f"flood-{number}"), Epoch(77 + number)
    bodies = sealed(LOAD, WATER, (number, hub_id, NORTH), epoch, batches)
    return VirtualHub(hub_id, NORTH, epoch, cloud, bodies)


def test_every_batch_can_be_decoded_and_no_reading_occurs_twice() -> None:
    seen: set[tuple[int, int]] = set()
    for number in range(2):
        for sequence, body in enumerate(hub(number, MemoryCloud(), 40).bodies):
            batch = decode(body)
            assert isinstance(batch, Batch)
            assert (batch.key.sequence, len(batch)) == (sequence, 100)
            assert not impossible(batch.values).any()
            assert ((~np.isnan(batch.values)).sum(axis=1) == 4).all()
            seen |= set(zip(batch.sensor_ids.tolist(), batch.observed_at_ms.tolist(), strict=True))
    assert len(seen) == 2 * 40 * 100


def test_rows_that_are_not_whole_seconds_are_refused() -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        Load(sensors=30, rows=100, metrics=4, first_sensor_id=0, start_ms=0)
    with pytest.raises(ValueError, match="at most 1000"):
        Load(sensors=1_001, rows=1_001, metrics=4, first_sensor_id=0, start_ms=0)


async def test_every_batch_is_published_once_many_in_flight_and_receipts_are_counted_once() -> None:
    clouds = [MemoryCloud(), MemoryCloud()]
    hubs = [hub(number, cloud, 60) for number, cloud in enumerate(clouds)]
    progress = await publish_all(hubs, SystemClock(), None, 10)
    assert progress.published == progress.receipted == 120
    for cloud in clouds:
        assert sorted(batch.key.sequence for batch in cloud.taken) == list(range(60))
        assert 2 < cloud.most_in_flight <= IN_FLIGHT_MAX // 2


async def test_what_the_store_never_receipted_is_not_counted() -> None:
    progress = await publish_all(
        [hub(0, MemoryCloud(frozenset({3, 4})), 10)], SystemClock(), None, 0.2
    )
    assert (progress.published, progress.receipted) == (10, 8)


async def test_an_open_loop_keeps_its_intended_times() -> None:
    progress = await publish_all([hub(0, MemoryCloud(), 20)], SystemClock(), 100.0, 0)
    assert progress.published_ms >= 190
