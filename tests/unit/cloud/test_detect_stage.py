"""Detection as a process runs it: what is urgent goes first, what merely waits is let be."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cloud.detect.service import HUBS_PER_COMMIT_MAX, Detect
from cloud.detect.stage import SLICE, Stage
from cloud.detect.sweep import Sweep
from cloud.ports import Delivery
from tests.support.builders import HUB, a_seal
from tests.support.detect import HandClock, Lent, MemoryDetect, Woken, lent, ph_batch
from wire.batch import Batch, Kind
from wire.errors import InfrastructureError
from wire.topics import Channel


@dataclass
class Heap:
    """An inbox that holds all it will ever hold."""

    deliveries_held: Sequence[Lent]
    burst: int = 32
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliveries(self) -> AsyncIterator[Sequence[Delivery]]:
        for first in range(0, len(self.deliveries_held), self.burst):
            yield self.deliveries_held[first : first + self.burst]
        self.ended.set()
        raise InfrastructureError("gone")


class Watched(Detect):
    """Notes how many batches it had been given when the urgent one was done."""

    taken = 0
    before_urgent = -1

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        self.taken += len(deliveries)
        await super().take(deliveries)
        if any(delivery.topic.endswith("urgent") for delivery in deliveries):
            self.before_urgent = self.taken - len(deliveries)


async def read(stage: Stage, inbox: Heap) -> None:
    with suppress(InfrastructureError):
        await stage.read(inbox)


def of_hub(hub: str, sequence: int = 0) -> Batch:
    batch = ph_batch(sequence, [7.0], start=sequence)
    seal = a_seal(sequence, hub=hub)
    return Batch(
        seal,
        batch.sensor_ids,
        batch.observed_at_ms,
        batch.values,
        batch.quality,
        batch.score,
        batch.samples,
    )


async def test_an_urgent_batch_waits_for_one_slice_of_routine_ones_at_most() -> None:
    store = MemoryDetect()
    detect = Watched(store, Woken(), store.clock, lambda _: True)
    stage = Stage(detect, Sweep(detect, store), store.clock)
    routine = [lent(ph_batch(n, [7.0], start=n)) for n in range(200)]
    urgent = lent(ph_batch(900, [9.3, 9.3], start=900, kind=Kind.EVIDENCE), Channel.URGENT)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read(stage, Heap(routine)))
        tasks.create_task(read(stage, Heap([urgent])))
    assert detect.taken == 201
    assert 0 <= detect.before_urgent <= SLICE
    assert urgent.acked == 1
    assert len(store.findings) == 1


async def test_routine_commits_are_made_a_few_hubs_at_a_time_and_all_of_them_in_the_end() -> None:
    store = MemoryDetect()
    detect = Detect(store, Woken(), store.clock, lambda _: True)
    count = 2 * HUBS_PER_COMMIT_MAX + 1
    mail = [lent(of_hub(f"hub-{n}")) for n in range(count)]
    await detect.take(mail)
    store.clock.at_ms += 1_000
    more = [await detect.settle() for _ in range(3)]
    assert more == [True, True, False]
    assert [delivery.acked for delivery in mail] == [1] * count


async def test_the_sweep_leaves_alone_what_only_waits_for_its_commit() -> None:
    store = MemoryDetect()
    detect = Detect(store, Woken(), store.clock, lambda _: True)
    batch = ph_batch(0, [7.0])
    await store.receive(batch)
    delivery = lent(batch)
    await detect.take([delivery])
    before = store.calls
    assert not await Sweep(detect, store).sweep()
    assert (store.calls - before, delivery.acked) == (1, 0)
    await store.age()
    await detect.settle()
    assert delivery.acked == 1
    assert detect.waiting(HUB, batch.key.epoch) == ()


async def test_the_sweep_reads_what_was_dropped_beside_what_waits() -> None:
    clock = HandClock()
    store = MemoryDetect(clock)
    detect = Detect(store, Woken(), clock, lambda _: True)
    for sequence in range(2):
        await store.receive(ph_batch(sequence, [7.0], start=sequence))
    await detect.take([lent(ph_batch(1, [7.0], start=1))])
    await store.age()
    await Sweep(detect, store).sweep()
    assert await store.due() == []
