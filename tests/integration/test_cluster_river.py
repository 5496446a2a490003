"""A hub by certificate, RabbitMQ, ingest as a process, PostgreSQL, and the receipt back."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager

import aiomqtt
import asyncpg
import pytest

from gateway.cluster.service import enrol
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.cloud_tables import read_tables
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire import ranges
from wire.batch import Batch
from wire.clock import SystemClock
from wire.codec import encode
from wire.control import Held, Hello, decode_receipt, encode_hello
from wire.ranges import Ranges
from wire.topics import Channel, topic

NOW = SystemClock().now_ms()
SENSORS = 20


@contextmanager
def stage(
    role: str, rabbit: Rabbits, url: str, share: str = "0/1"
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker at the cluster; it is gone at the end, politely if it still runs."""
    rabbit.authority.issue(role)
    environment = {
        **os.environ,
        "HEADGATE_DATABASE_URL": url,
        "HEADGATE_BROKER_URL": f"amqps://localhost:{rabbit.nodes[0].amqps}",
        "HEADGATE_BROKER_TLS": str(rabbit.authority.home(role)),
        "HEADGATE_SHARE": share,
    }
    worker = subprocess.Popen([sys.executable, "-P", "-m", "cloud", role], env=environment)
    try:
        yield worker
    finally:
        worker.terminate()
        assert worker.wait(20) in (0, 1, -9, -15)  # -15: told before it could listen


def ingest(
    rabbit: Rabbits, url: str, share: str = "0/1"
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return stage("ingest", rabbit, url, share)


class Hub:
    """A hub that sends each batch once and leaves the rest to the broker."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.received: Ranges = ()

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            receipt = decode_receipt(message.payload)
            assert receipt.epoch == EPOCH
            self.received = ranges.union(self.received, receipt.received)

    async def send(self, *batches: Batch) -> None:
        for batch in batches:
            await self._client.publish(topic(NORTH, HUB, Channel.BATCH), encode(batch), 1)

    async def ask(self, held: Ranges, count: int) -> None:
        body = encode_hello(Hello((Held(EPOCH, count, held),)))
        await self._client.publish(topic(NORTH, HUB, Channel.HELLO), body, 1)

    async def hears_of(self, count: int) -> None:
        await until(lambda: self.received == ((0, count),), within_s=60)


@asynccontextmanager
async def connected_hub(rabbit: Rabbits) -> AsyncIterator[Hub]:
    async with rabbit.api() as api:
        await enrol(api, NORTH, HUB)
    await rabbit.empty()
    async with rabbit.hub(HUB, timeout=20) as client:
        await client.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
        hub = Hub(client)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(hub.listen())
            yield hub
            listening.cancel()


def batches(first: int, last: int) -> list[Batch]:
    return [
        a_batch(n, sensors=range(SENSORS), times=[NOW - 1_000_000 + 1_000 * n] * SENSORS)
        for n in range(first, last)
    ]


async def test_what_a_hub_sends_once_is_stored_once_and_receipted(
    rabbit: Rabbits, database_url: str
) -> None:
    async with connected_hub(rabbit) as hub:
        await hub.send(*batches(0, 40))  # nobody reads yet: the queue keeps them
        with ingest(rabbit, database_url):
            await hub.hears_of(40)
            hub.received = ()
            await hub.ask(((0, 40),), 40)
            await hub.hears_of(40)
    tables = await read_tables(database_url)
    (entry,) = tables.ledger.values()
    assert (len(tables.readings), entry.received) == (40 * SENSORS, ((0, 40),))


async def test_a_worker_killed_at_work_costs_its_hub_no_resend(
    rabbit: Rabbits, database_url: str
) -> None:
    sent = batches(0, 200)
    async with connected_hub(rabbit) as hub:
        with ingest(rabbit, database_url) as worker:
            await hub.send(*sent[:20])
            await hub.hears_of(20)
            await hub.send(*sent[20:])
            worker.kill()
            worker.wait(10)
        with ingest(rabbit, database_url):
            # What was committed but not acknowledged is receipted again: nothing is asked for.
            await hub.hears_of(200)
    tables = await read_tables(database_url)
    assert len(tables.readings) == 200 * SENSORS
    assert all(len(contents) == 1 for contents in tables.log.values())


async def test_two_workers_share_one_queue_and_double_nothing(
    rabbit: Rabbits, database_url: str
) -> None:
    async with connected_hub(rabbit) as hub:
        with ingest(rabbit, database_url, "0/2"), ingest(rabbit, database_url, "1/2"):
            await hub.send(*batches(0, 200))
            await hub.hears_of(200)
    tables = await read_tables(database_url)
    assert len(tables.readings) == 200 * SENSORS
    assert sum(len(contents) for contents in tables.log.values()) == 200


@pytest.mark.spec("Q1", "K5")
async def test_every_stage_stands_at_the_cluster_and_a_breach_becomes_an_alert(
    rabbit: Rabbits, database_url: str
) -> None:
    high = [
        a_batch(n, sensors=[7] * 4, times=[NOW - 9_000 + 4_000 * n + at for at in range(4)], ph=11)
        for n in range(2)
    ]
    database = await asyncpg.connect(database_url)
    try:
        with ExitStack() as stages:
            for role in ("ingest", "detect", "alert", "refresh"):
                stages.enter_context(stage(role, rabbit, database_url))
            async with connected_hub(rabbit) as hub:
                await hub.send(*high)
                await hub.hears_of(2)
                sensor: int = await until(
                    lambda: database.fetchval("select sensor_id from contamination_alerts"),
                    within_s=60,
                    poll_s=0.1,
                )
    finally:
        await database.close()
    assert sensor == 7


def test_a_second_share_of_detection_is_refused_where_the_queue_has_one_reader(
    rabbit: Rabbits, database_url: str
) -> None:
    with stage("detect", rabbit, database_url, "0/2") as worker:
        assert worker.wait(30) != 0
