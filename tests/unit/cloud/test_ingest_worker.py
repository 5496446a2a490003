"""cloud.ingest.worker: a receipt and an acknowledgement are promises; the commit comes first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloud.core.fresh import decode_fresh
from cloud.ingest.meters import Meters
from cloud.ingest.service import Ingest
from cloud.ingest.worker import Worker
from tests.support.builders import EPOCH, NOON, a_batch
from tests.support.cloud import STORE, Lent, MemoryStore, a_delivery
from tests.support.wait import until
from wire.clock import SystemClock
from wire.control import decode_receipt
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.topics import Lane


class NoonClock(SystemClock):
    """The machine's waits, at noon."""

    def now_ms(self) -> UnixMs:
        return NOON


@dataclass
class Broker:
    """An inbox and lanes that write down what happened, in order."""

    store: MemoryStore
    bursts: asyncio.Queue[Sequence[Lent]] = field(default_factory=asyncio.Queue)
    told: list[tuple[int, str, bytes]] = field(default_factory=list)
    lanes: list[tuple[Lane, bytes]] = field(default_factory=list)
    away: bool = False

    async def deliveries(self) -> AsyncIterator[Sequence[Lent]]:
        while True:
            yield await self.bursts.get()

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        if self.away:
            raise InfrastructureError("broker is away")
        self.told.extend((self.store.commits, *message) for message in messages)

    async def send(self, lane: Lane, body: bytes) -> None:
        self.lanes.append((lane, body))


def at_work(broker: Broker) -> Worker:
    ingest = Ingest(broker.store, NoonClock())
    inbox: Any = broker
    meters = Meters(CollectorRegistry())
    return Worker(ingest, inbox, broker, STORE, NoonClock(), meters, lambda: 0.0)


@asynccontextmanager
async def working(broker: Broker) -> AsyncIterator[None]:
    """Lend a worker at work."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(at_work(broker).run())
        yield
        task.cancel()


async def acknowledged(*deliveries: Lent) -> None:
    await until(lambda: all(lent.acknowledged for lent in deliveries))


async def serve(broker: Broker, *deliveries: Lent) -> None:
    """Let a worker serve one burst to its end."""
    async with working(broker):
        broker.bursts.put_nowait(deliveries)
        await acknowledged(*deliveries)


async def test_receipts_and_acknowledgements_follow_the_commit() -> None:
    broker = Broker(MemoryStore())
    lent = a_delivery(a_batch())
    await serve(broker, lent)
    commits, topic, body = broker.told[0]
    assert (commits, topic) == (1, "headgate/1/north/hub-1/receipt")
    assert decode_receipt(body).received == ((0, 1),)
    assert lent.acknowledged


async def test_a_failed_commit_is_tried_again_and_promises_nothing_before() -> None:
    broker = Broker(MemoryStore())
    broker.store.failing = 3
    lent = a_delivery(a_batch())
    await serve(broker, lent)
    assert [commits for commits, _, _ in broker.told] == [1]
    assert len(broker.store.tables.readings) == 1


async def test_receipts_nobody_could_hear_leave_the_commit_and_no_acknowledgement() -> None:
    broker = Broker(MemoryStore(), away=True)
    lent = a_delivery(a_batch())
    broker.bursts.put_nowait([lent])
    with pytest.raises(InfrastructureError):
        async with asyncio.timeout(10):
            await at_work(broker).run()
    assert broker.store.commits == 1
    assert not lent.acknowledged
    reconnected = Broker(broker.store)
    await serve(reconnected, lent)
    assert decode_receipt(reconnected.told[0][2]).received == ((0, 1),)


async def test_what_is_fresh_is_told_on_the_medium_lane_at_most_once_a_second() -> None:
    broker = Broker(MemoryStore())
    async with working(broker):
        for number in range(3):
            lent = a_delivery(a_batch(number, times=[NOON + number]))
            broker.bursts.put_nowait([lent])
            await acknowledged(lent)
        await until(lambda: broker.lanes)
    ((lane, body),) = broker.lanes
    news = decode_fresh(body)
    assert lane is Lane.MEDIUM
    assert news.rows >= 1
    assert news.latest[0].sensor_id == 1000


async def test_a_burst_larger_than_a_flush_is_served_whole() -> None:
    broker = Broker(MemoryStore())
    burst = [a_delivery(a_batch(n, times=[NOON + n])) for n in range(300)]
    await serve(broker, *burst)
    (entry,) = broker.store.tables.ledger.values()
    assert entry.received == ((0, 300),)
    assert decode_receipt(broker.told[-1][2]).epoch == EPOCH
