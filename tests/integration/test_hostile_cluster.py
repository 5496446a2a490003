"""Hostile bytes from an enrolled hub, through RabbitMQ to ingest: each ends once, for itself."""

import asyncio
import os
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiomqtt
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from benchmarks.hostile import CORPUS
from gateway.core.limits import PACKET_BYTES_MAX
from tests.integration.test_cluster_river import connected_hub
from tests.support.builders import HUB, NORTH, a_batch, a_seal
from tests.support.cloud_tables import read_tables
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire.clock import SystemClock
from wire.codec import encode
from wire.limits import MIB
from wire.topics import Channel, topic

NOW = SystemClock().now_ms()
WITHIN_S = 30
GROWTH_MAX = 128 * MIB
READ = (Channel.BATCH, Channel.URGENT, Channel.HELLO)
SMALL = [body for body in CORPUS.values() if len(body) <= PACKET_BYTES_MAX - 1_024]
OTHERS = (
    *("$SYS/broker", "$share/all/headgate/1/north/hub-1/batch", "headgate/1/north/hub-2/batch"),
    *("headgate/1/north/hub-1/receipt", "sensors/1/data", "high_priority_queue"),
)
LARGE = PACKET_BYTES_MAX + MIB


class Worker:
    """Ingest as a process, with what it counts."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid, self._folder = pid, folder

    def fates(self) -> Counter[str]:
        """Return how many batches met each fate."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        samples = [s for family in registry.collect() for s in family.samples]
        name = "headgate_ingest_batches_total"
        return Counter({s.labels["fate"]: round(s.value) for s in samples if s.name == name})

    def peak_bytes(self) -> int:
        """Return the most memory it ever held."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def counting_ingest(rabbit: Rabbits, url: str, folder: Path) -> Iterator[Worker]:
    rabbit.authority.issue("ingest")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cloud", "ingest"],
        env={
            **os.environ,
            "HEADGATE_DATABASE_URL": url,
            "HEADGATE_BROKER_URL": f"amqps://localhost:{rabbit.nodes[0].amqps}",
            "HEADGATE_BROKER_TLS": str(rabbit.authority.home("ingest")),
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
        },
    )
    try:
        yield Worker(process.pid, folder)
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15)


async def thrown_out(rabbit: Rabbits, where: str, body: bytes) -> bool:
    """Return whether a hub that publishes this is hung up on."""
    try:
        async with rabbit.hub(HUB, identifier=f"{HUB}.{len(where):x}", timeout=10) as client:
            await client.publish(where, body, 0)
            async with asyncio.timeout(10):
                await anext(aiter(client.messages))
    except aiomqtt.MqttError:
        return True
    except TimeoutError:
        return False
    return False


async def swallowed(rabbit: Rabbits, where: str, size: int) -> int:
    """Publish so many bytes past any client library; return how many went before it hung up."""
    name = f"{HUB}.ff".encode()
    connect = b"\0\4MQTT\4\2\0\74" + struct.pack(">H", len(name)) + name
    length, left = b"", len(where) + 2 + size
    while left:
        length, left = length + bytes([left % 128 | (128 if left > 127 else 0)]), left // 128
    reader, writer = await asyncio.open_connection(
        "localhost", rabbit.nodes[0].mqtts, ssl=rabbit.authority.context(HUB)
    )
    sent = 0
    try:
        writer.write(b"\x10" + bytes([len(connect)]) + connect)
        assert (await reader.readexactly(4))[3] == 0, "not let in"
        writer.write(b"\x30" + length + struct.pack(">H", len(where)) + where.encode())
        while sent < size:
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB
        return size - (not await reader.read(1))
    except ConnectionError:
        return sent
    finally:
        writer.transport.abort()


async def test_hostile_bytes_end_once_each_and_the_good_before_and_after_are_stored(
    rabbit: Rabbits, database_url: str, tmp_path: Path
) -> None:
    good = [a_batch(n, sensors=[n], times=[NOW - 60_000 + n]) for n in range(2)]
    claim = encode(a_batch(seal=a_seal(5, hub="hub-2"), times=[NOW]))
    async with connected_hub(rabbit) as hub:
        with counting_ingest(rabbit, database_url, tmp_path) as worker:
            await hub.send(good[0])
            await hub.hears_of(1)
            began_ms, peak = SystemClock().steady_ms(), worker.peak_bytes()
            async with rabbit.hub(HUB, identifier=f"{HUB}.99", timeout=20) as hostile:
                for channel in READ:
                    for body in SMALL:
                        await hostile.publish(topic(NORTH, HUB, channel), body, 1, retain=True)
                await hostile.publish(topic(NORTH, HUB, Channel.BATCH), claim, 1)
            for where in OTHERS:
                assert await thrown_out(rabbit, where, b"\0"), where
            own = topic(NORTH, HUB, Channel.BATCH)
            assert await thrown_out(rabbit, own, bytes(LARGE))
            assert await swallowed(rabbit, own, 64 * MIB) < 64 * MIB
            await hub.send(good[1])
            await hub.hears_of(2)
            assert SystemClock().steady_ms() - began_ms < 1_000 * WITHIN_S
            assert worker.peak_bytes() - peak < GROWTH_MAX
            noise = len(READ) * len(SMALL)

            def ended() -> bool:
                fates = worker.fates()
                return fates["damaged"] + fates["malformed"] == noise and fates["impostors"] == 1

            await until(ended)
    tables = await read_tables(database_url)
    assert len(tables.readings) == len(good)
    (letter,) = tables.dead.values()
    assert letter.reason == "claims to be north/hub-2"
