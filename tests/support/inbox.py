"""Three shores of one port: a broker in memory, the embedded one, and RabbitMQ."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import aiomqtt

from cloud.adapters import amqp, mqtt
from cloud.ports import Inbox, Lanes
from gateway.cluster.service import enrol
from gateway.core.identity import Role
from tests.support.builders import HUB, NORTH
from tests.support.gateway import Gateway
from tests.support.rabbitmq import Rabbits
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.queues import Queue
from wire.topics import Channel, Lane, every_hub, lane_topic, topic

CLOCK = SystemClock()
RECEIPT = topic(NORTH, HUB, Channel.RECEIPT)


class Both(Inbox, Lanes, Protocol):
    """A connection that is inbox and lanes at once, as every adapter's is."""


class HubEnd(Protocol):
    """The other end: one hub."""

    async def say(self, channel: Channel, body: bytes) -> None:
        """Publish on the hub's own channel; on return the broker has it."""
        ...

    async def hear(self) -> bytes:
        """Return the next receipt."""
        ...


class Shore(Protocol):
    """A broker and whoever stands at it."""

    @property
    def lends_again(self) -> bool:
        """Whether the broker itself gives back what was not acknowledged."""
        ...

    def ingest(self) -> AbstractAsyncContextManager[Both]:
        """Connect as ingest does."""
        ...

    def detect(self) -> AbstractAsyncContextManager[Both]:
        """Connect as detection does, which may send to the high lane."""
        ...

    def high_lane(self) -> AbstractAsyncContextManager[Both]:
        """Connect as the alert stage does."""
        ...

    def hub(self) -> AbstractAsyncContextManager[HubEnd]:
        """Connect as ``HUB``, listening for receipts."""
        ...

    async def break_off(self) -> None:
        """End ingest's connection from the broker's side."""
        ...


@dataclass(eq=False)
class Kept:
    """A message of the memory twin."""

    topic: str
    body: bytes
    received_at_ms: UnixMs
    settled: bool = False

    async def ack(self) -> None:
        """See ``Delivery``."""
        self.settled = True


@dataclass(eq=False)
class _MemoryConnection:
    shore: "MemoryShore"
    queue: str
    lent: int = 0
    gone: bool = False

    async def deliveries(self) -> AsyncIterator[Sequence[Kept]]:
        while True:
            async with self.shore.changed:
                await self.shore.changed.wait_for(lambda: self.gone or self._news())
            if self.gone:
                raise InfrastructureError("memory: broken off")
            burst = self._news()
            self.lent += len(burst)
            yield burst

    def _news(self) -> list[Kept]:
        return list(self.shore.queues[self.queue])[self.lent : self.lent + 8]

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        for name, body in messages:
            if name == RECEIPT and self.shore.listening:
                self.shore.receipts.put_nowait(body)

    async def send(self, lane: Lane, body: bytes) -> None:
        await self.shore.put(lane, Kept(lane_topic(lane), body, CLOCK.now_ms()))


@dataclass
class MemoryShore:
    """A broker of deques: what is not settled when a connection ends is lent again."""

    lends_again: bool = True
    listening: bool = False
    queues: dict[str, deque[Kept]] = field(default_factory=dict)
    receipts: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    connections: list[_MemoryConnection] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def put(self, queue: str, message: Kept) -> None:
        async with self.changed:
            self.queues.setdefault(queue, deque()).append(message)
            self.changed.notify_all()

    @asynccontextmanager
    async def _connected(self, queue: str) -> AsyncIterator[Both]:
        connection = _MemoryConnection(self, queue)
        self.queues.setdefault(queue, deque())
        self.connections.append(connection)
        try:
            yield connection
        finally:
            self.connections.remove(connection)
            left = [each for each in self.queues[queue] if not each.settled]
            self.queues[queue] = deque(left)

    def ingest(self) -> AbstractAsyncContextManager[Both]:
        return self._connected(Queue.INGEST)

    def detect(self) -> AbstractAsyncContextManager[Both]:
        return self._connected(Queue.DETECT)

    def high_lane(self) -> AbstractAsyncContextManager[Both]:
        return self._connected(Lane.HIGH)

    @asynccontextmanager
    async def hub(self) -> AsyncIterator[HubEnd]:
        self.listening = True
        yield self
        self.listening = False

    async def say(self, channel: Channel, body: bytes) -> None:
        await self.put(Queue.INGEST, Kept(topic(NORTH, HUB, channel), body, CLOCK.now_ms()))

    async def hear(self) -> bytes:
        return await self.receipts.get()

    async def break_off(self) -> None:
        async with self.changed:
            for each in self.connections:
                each.gone = True
            self.changed.notify_all()


@dataclass(frozen=True)
class _MqttHub:
    client: aiomqtt.Client

    async def say(self, channel: Channel, body: bytes) -> None:
        await self.client.publish(topic(NORTH, HUB, channel), body, 1)

    async def hear(self) -> bytes:
        payload = (await anext(aiter(self.client.messages))).payload
        assert isinstance(payload, bytes)
        return payload


@asynccontextmanager
async def _listening(client: aiomqtt.Client) -> AsyncIterator[HubEnd]:
    async with client:
        await client.subscribe(RECEIPT, qos=1)
        yield _MqttHub(client)


@dataclass(frozen=True)
class EmbeddedShore:
    """The gateway's own broker, which never lends twice: hubs send again instead."""

    gateway: Gateway
    lends_again: bool = False

    def ingest(self) -> AbstractAsyncContextManager[Both]:
        channels = (Channel.BATCH, Channel.URGENT, Channel.HELLO)
        return self._as(Role.INGEST, *map(every_hub, channels))

    def detect(self) -> AbstractAsyncContextManager[Both]:
        return self._as(Role.DETECT, every_hub(Channel.URGENT))

    def high_lane(self) -> AbstractAsyncContextManager[Both]:
        return self._as(Role.ALERT, lane_topic(Lane.HIGH))

    def hub(self) -> AbstractAsyncContextManager[HubEnd]:
        return _listening(self.gateway.client(HUB, Role.HUB))

    async def break_off(self) -> None:
        self.gateway.process.kill()

    def _as(self, role: Role, *filters: str) -> AbstractAsyncContextManager[Both]:
        self.gateway.enrol(role, role)
        url = f"mqtt://{role}@127.0.0.1:{self.gateway.port}"
        broker = mqtt.Broker.read(url, self.gateway.folder / f"{role}.token")
        return mqtt.connected(broker, f"{role}-0", filters, CLOCK)


@dataclass(frozen=True)
class RabbitShore:
    """RabbitMQ, with services by AMQPS and hubs by MQTT."""

    rabbit: Rabbits
    lends_again: bool = True

    def broker(self, role: str) -> amqp.Broker:
        """Return the cluster as a stage of that role reaches it."""
        tls = self.rabbit.authority.issue(role)
        hosts = ",".join(f"localhost:{node.amqps}" for node in self.rabbit.nodes)
        return amqp.Broker.read(f"amqps://{hosts}", tls.authority, tls.certificate, tls.key)

    def ingest(self) -> AbstractAsyncContextManager[amqp.Amqp]:
        return amqp.connected(self.broker("ingest"), [Queue.INGEST], CLOCK)

    def detect(self) -> AbstractAsyncContextManager[amqp.Amqp]:
        return amqp.connected(self.broker("detect"), [Queue.DETECT_URGENT], CLOCK)

    def high_lane(self) -> AbstractAsyncContextManager[amqp.Amqp]:
        return amqp.connected(self.broker("alert"), [Lane.HIGH], CLOCK)

    def hub(self) -> AbstractAsyncContextManager[HubEnd]:
        return _listening(self.rabbit.hub(HUB))

    async def break_off(self) -> None:
        async with self.rabbit.api() as api:
            assert await api.hang_up("ingest")


async def rabbit_shore(rabbit: Rabbits) -> RabbitShore:
    """Return RabbitMQ's shore with ``HUB`` enrolled and nothing in its queues."""
    async with rabbit.api() as api:
        await enrol(api, NORTH, HUB)
    await rabbit.empty()
    return RabbitShore(rabbit)
