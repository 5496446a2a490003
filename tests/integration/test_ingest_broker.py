"""``python -m cloud ingest`` between a real broker and a real PostgreSQL."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiomqtt
import pytest

from gateway.core.identity import Role
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.cloud_broker import broker_for_ingest
from tests.support.cloud_tables import read_tables
from tests.support.gateway import Gateway
from tests.support.wait import until
from wire import ranges
from wire.batch import Batch
from wire.clock import SystemClock
from wire.codec import encode
from wire.control import Held, Hello, decode_receipt, encode_hello
from wire.ranges import Ranges
from wire.topics import Channel, topic

NOW = SystemClock().now_ms()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with broker_for_ingest(tmp_path) as running:
        yield running


@contextmanager
def ingest(broker: Gateway, url: str, share: str = "0/1") -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker; it is gone at the end, politely if it still runs."""
    environment = {
        **os.environ,
        "HEADGATE_DATABASE_URL": url,
        "HEADGATE_BROKER_URL": f"mqtt://ingest@127.0.0.1:{broker.port}",
        "HEADGATE_BROKER_TOKEN_FILE": str(broker.folder / "ingest.token"),
        "HEADGATE_SHARE": share,
    }
    worker = subprocess.Popen([sys.executable, "-P", "-m", "cloud", "ingest"], env=environment)
    try:
        yield worker
    finally:
        worker.terminate()
        assert worker.wait(20) in (0, -9, -15)  # -15: told before it could listen


class HubEnd:
    """A hub's connection, and the union of the receipts it has heard."""

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

    async def resend_until_receipted(self, batches: list[Batch], settled: Ranges) -> None:
        """Send again whatever has no receipt, as a hub does, until all have one."""

        async def settles() -> bool:
            missing = ranges.minus(settled, self.received)
            await self.send(*(b for b in batches if ranges.contains(missing, b.key.sequence)))
            return not missing

        settled_all: bool = await until(settles, within_s=60, poll_s=0.5)
        assert settled_all

    async def hears(self, settled: Ranges) -> None:
        await until(lambda: not ranges.minus(settled, self.received), within_s=30)

    async def ask(self, held: Ranges) -> None:
        body = encode_hello(Hello((Held(EPOCH, 50, held),)))
        await self._client.publish(topic(NORTH, HUB, Channel.HELLO), body, 1)


@asynccontextmanager
async def hub(broker: Gateway) -> AsyncIterator[HubEnd]:
    async with broker.client(HUB, Role.HUB) as client:
        await client.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
        end = HubEnd(client)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(end.listen())
            yield end
            listening.cancel()


def batches(first: int, last: int) -> list[Batch]:
    return [
        a_batch(n, sensors=range(20), times=[NOW - 1_000_000 + 1_000 * n] * 20)
        for n in range(first, last)
    ]


async def test_batches_become_rows_and_their_hub_hears_of_it(
    broker: Gateway, database_url: str
) -> None:
    with ingest(broker, database_url):
        async with hub(broker) as end:
            await end.resend_until_receipted(batches(0, 30), ((0, 30),))
            end.received = ()
            await end.ask(((5, 9), (28, 40)))
            await end.hears(((0, 30),))
    tables = await read_tables(database_url)
    (entry,) = tables.ledger.values()
    assert (len(tables.readings), entry.received, entry.next_sequence) == (600, ((0, 30),), 50)


async def test_a_worker_killed_at_work_costs_nothing_and_doubles_nothing(
    broker: Gateway, database_url: str
) -> None:
    sent = batches(0, 60)
    async with hub(broker) as end:
        with ingest(broker, database_url) as worker:
            await end.resend_until_receipted(sent[:20], ((0, 20),))
            await end.send(*sent[20:])
            worker.kill()
            worker.wait(10)
        with ingest(broker, database_url):
            await end.resend_until_receipted(sent, ((0, 60),))
    tables = await read_tables(database_url)
    assert len(tables.readings) == 60 * 20
    assert all(len(contents) == 1 for contents in tables.log.values())


async def test_a_worker_leaves_other_workers_hubs_alone(broker: Gateway, database_url: str) -> None:
    with ingest(broker, database_url, "0/2"), ingest(broker, database_url, "1/2"):
        async with hub(broker) as end:
            await end.resend_until_receipted([a_batch(times=[NOW])], ((0, 1),))
    tables = await read_tables(database_url)
    assert (len(tables.readings), len(tables.log)) == (1, 1)
