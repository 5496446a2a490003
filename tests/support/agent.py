"""A real hub agent for tests, the sensors below it and a small cloud above it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import UUID

import aiomqtt

from gateway.core.identity import Role
from tests.support.gateway import Gateway
from wire import codec, ranges
from wire.batch import Batch, Kind
from wire.clock import SystemClock
from wire.control import Health, Receipt, decode_health, decode_hello, encode_receipt
from wire.ids import BatchKey, Epoch, HubId, Region, SensorId
from wire.reading import decode_status
from wire.topics import Channel, every_hub, parse, sensor_data, topic

STORE = UUID("3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11")
READINGS_UNDER_WAY_MAX = 50


@dataclass(eq=False)
class Agent:
    """A hub's agent as a process that may die and come back.

    Attributes:
        folder: Its settings, token and data.
        port: Where its sensors connect.
    """

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    _log: IO[bytes] | None = None

    @classmethod
    def told(
        cls, gateway: Gateway, port: int, *, uplink_port: int | None = None, **settings: object
    ) -> "Agent":
        """Write the settings of ``hub-1`` under a gateway's folder."""
        gateway.enrol("hub-1", Role.HUB)
        uplink = {
            "url": f"mqtt://127.0.0.1:{uplink_port or gateway.port}",
            "token_file": f"{gateway.folder}/hub-1.token",
        }
        return cls.dialling(gateway.folder / "hub-1", port, uplink, **settings)

    @classmethod
    def dialling(
        cls, folder: Path, port: int, uplink: Mapping[str, str], **settings: object
    ) -> "Agent":
        """Write the settings of ``hub-1`` with this way to the cloud into a new folder."""
        folder.mkdir()
        values = {
            "hub_id": "hub-1",
            "region": "north",
            "store_id": str(STORE),
            "data_dir": str(folder / "data"),
            **settings,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        lines += ["[uplink]", *(f"{key} = {json.dumps(value)}" for key, value in uplink.items())]
        lines += ["[sensors]", f'listen = "127.0.0.1:{port}"']
        (folder / "hub.toml").write_text("\n".join(lines))
        return cls(folder, port)

    def start(self) -> None:
        """Start the process."""
        self._log = (self.folder / "agent.log").open("ab")
        command = [sys.executable, "-P", "-m", "edge_agent", "run", "--config"]
        self.process = subprocess.Popen([*command, self.folder / "hub.toml"], stderr=self._log)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = 10) -> int:
        """End the process and return its exit status."""
        assert self.process is not None
        assert self._log is not None
        self.process.send_signal(number)
        status = self.process.wait(within_s)
        self._log.close()
        self.process = None
        return status

    def listens(self) -> bool:
        """Return whether sensors can connect now."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=1)):
                return True
        except OSError:
            return False

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "agent.log").read_text()


@contextmanager
def killed_at_the_end(agent: Agent) -> Iterator[Agent]:
    """Leave no process behind."""
    try:
        yield agent
    finally:
        if agent.process is not None:
            agent.stop(signal.SIGKILL)


@dataclass(eq=False)
class FakeCloud:
    """Stores what arrives, then promises it. ``deaf`` stores without promising.

    Attributes:
        rows: Routine rows by sensor and instant: the keys of the batches they came in.
        contents: The content CRC of every batch seen, by key.
        repeats: How often a batch arrived that was stored already.
    """

    store_id: UUID = STORE
    deaf: bool = False
    rows: dict[tuple[int, int], set[BatchKey]] = field(default_factory=dict)
    evidence: set[tuple[int, int]] = field(default_factory=set)
    contents: dict[BatchKey, set[int]] = field(default_factory=dict)
    received: dict[Epoch, ranges.Ranges] = field(default_factory=dict)
    announced: dict[Epoch, int] = field(default_factory=dict)
    repeats: int = 0
    hellos: int = 0

    async def run(self, gateway: Gateway) -> None:
        """Listen as ingest until cancelled, whether or not the broker is up."""
        while _wanted():
            with suppress(aiomqtt.MqttError):
                await self._listen(gateway)
            await asyncio.sleep(0.1)

    async def _listen(self, gateway: Gateway) -> None:
        async with gateway.client("ingest", Role.INGEST) as client:
            for channel in (Channel.BATCH, Channel.URGENT, Channel.HELLO):
                await client.subscribe(every_hub(channel), qos=1)
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                for receipt in self.hear(parse(message.topic.value).channel, message.payload):
                    name = topic(Region("north"), HubId("hub-1"), Channel.RECEIPT)
                    await client.publish(name, encode_receipt(receipt), qos=1)
                    if not _wanted():  # waiting for a PUBACK may forget that we were cancelled
                        return

    def hear(self, channel: Channel, body: bytes) -> list[Receipt]:
        """Store and return what to promise."""
        if channel is Channel.HELLO:
            self.hellos += 1
            epochs = [held.epoch for held in decode_hello(body).epochs]
        else:
            self._store(body)
            epochs = [codec.peek(body).seal.key.epoch]
        return [] if self.deaf else [self._receipt(epoch) for epoch in epochs]

    def _store(self, body: bytes) -> None:
        batch, crc = codec.decode(body), codec.peek(body).crc
        key = batch.key
        self.repeats += key in self.contents
        self.contents.setdefault(key, set()).add(crc)
        one = ((key.sequence, key.sequence + 1),)
        self.received[key.epoch] = ranges.union(self.received.get(key.epoch, ()), one)
        if isinstance(batch, Batch):
            rows = zip(batch.sensor_ids.tolist(), batch.observed_at_ms.tolist(), strict=True)
            for row in rows:
                if batch.seal.kind is Kind.ROUTINE:
                    self.rows.setdefault(row, set()).add(key)
                else:
                    self.evidence.add(row)

    def _receipt(self, epoch: Epoch) -> Receipt:
        received = self.received.get(epoch, ())[:64]
        return Receipt(self.store_id, epoch, received, (), SystemClock().now_ms())


async def healths(gateway: Gateway, found: list[tuple[Channel, Health]]) -> None:
    """Collect every status and health hubs publish, until cancelled."""
    while _wanted():
        with suppress(aiomqtt.MqttError):
            async with gateway.client("refresh", Role.REFRESH) as client:
                for one in (Channel.STATUS, Channel.HEALTH):
                    await client.subscribe(every_hub(one), qos=1)
                async for message in client.messages:
                    assert isinstance(message.payload, bytes)
                    channel = parse(message.topic.value).channel
                    found.append((channel, decode_health(message.payload)))
        await asyncio.sleep(0.1)


@dataclass(eq=False)
class Probes:
    """Sensors on one connection that keep each reading until a status covers it.

    Attributes:
        sent: Every instant sent at least once, by sensor.
        through_ms: What each sensor was told is committed.
    """

    port: int
    sensor_ids: range
    start_ms: int
    sent: dict[int, list[int]] = field(default_factory=dict)
    through_ms: dict[int, int] = field(default_factory=dict)
    covered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, readings: int) -> None:
        """Send so many readings a sensor, one observed second apart; end when all are covered."""
        for turn in range(readings):
            for sensor_id in self.sensor_ids:
                self.sent.setdefault(sensor_id, []).append(self.start_ms + 1_000 * turn)
        while _wanted() and not self.all_covered():
            with suppress(aiomqtt.MqttError, TimeoutError, ExceptionGroup):
                await self._one_connection()
            await asyncio.sleep(0.05)

    def announced(self) -> set[tuple[int, int]]:
        """Return every reading a status has covered."""
        return {
            (sensor_id, at_ms)
            for sensor_id, times in self.sent.items()
            for at_ms in times
            if at_ms <= self.through_ms.get(sensor_id, -1)
        }

    def all_covered(self) -> bool:
        """Return whether every reading is."""
        return len(self.announced()) == sum(map(len, self.sent.values()))

    async def _one_connection(self) -> None:
        client = aiomqtt.Client("127.0.0.1", self.port, identifier="probes", timeout=2)
        async with asyncio.timeout(20), client:
            await client.subscribe("sensors/+/status", qos=1)
            async with asyncio.TaskGroup() as tasks:
                hearing = tasks.create_task(self._hear(client))
                await self._send(client)
                hearing.cancel()

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            sensor_id = int(message.topic.value.split("/")[1])
            through_ms = decode_status(message.payload).committed_through_ms
            async with self.covered:
                self.through_ms[sensor_id] = max(self.through_ms.get(sensor_id, -1), through_ms)
                self.covered.notify_all()

    async def _send(self, client: aiomqtt.Client) -> None:
        """Send what is not covered, in the order of time, and wait until it is."""
        missing = sorted(
            (at_ms, sensor_id)
            for sensor_id, times in self.sent.items()
            for at_ms in times
            if at_ms > self.through_ms.get(sensor_id, -1)
        )
        for at_ms, sensor_id in missing:
            body = json.dumps({"pH": 7.0 + at_ms % 7 / 10, "timestamp": at_ms}).encode()
            await client.publish(sensor_data(SensorId(sensor_id)), body, qos=1)
        async with self.covered:
            await self.covered.wait_for(self.all_covered)


@asynccontextmanager
async def cloud(gateway: Gateway, one: FakeCloud) -> AsyncIterator[FakeCloud]:
    """Run a fake cloud beside a test."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.run(gateway))
        try:
            yield one
        finally:
            running.cancel()


def _wanted() -> bool:
    """Return whether nobody has cancelled us: the client library's goodbye may hide that."""
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
