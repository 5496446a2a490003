"""A door's way to the store over RabbitMQ: safe is what a majority of the cluster has confirmed.

The door is enrolled as a hub is (``gateway cluster enrol-door``): its certificate names it, and it
may use its own topics only, whichever protocol it speaks.
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import aio_pika
import aiormq
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
)

from certs.tls import client_context
from gateway.core.limits import PACKET_BYTES_MAX
from gateway.core.virtual_hub import FLYING_MAX
from gateway.ports import LinkLostError
from wire import queues
from wire.ids import HubId, Region, SensorId
from wire.limits import MIB
from wire.queues import Queue
from wire.topics import Channel, sensor_status, topic

CONNECT_WITHIN_S: Final = 5.0
ANSWER_WITHIN_S: Final = 8.0
GOODBYE_WITHIN_S: Final = 2.0
HEARTBEAT_S: Final = 10
RECEIPTS_MAX: Final = 4 * FLYING_MAX
SENSORS_LENT_MAX: Final = 256
SENSORS_BYTES_MAX: Final = 128 * MIB
assert SENSORS_LENT_MAX * PACKET_BYTES_MAX <= SENSORS_BYTES_MAX


@dataclass(frozen=True, slots=True)
class AmqpUplink:
    """See ``gateway.ports.Uplink``.

    Attributes:
        hosts: ``host:port`` of every node; the first that answers is taken.
        tls: Shows the door's certificate.
        region: Where the door stands.
        hub_id: Its name there, which several doors may share: the certificate's common name.
        vhost: Where the topology is.
    """

    hosts: tuple[str, ...]
    tls: ssl.SSLContext = field(repr=False)
    region: Region
    hub_id: HubId
    vhost: str = queues.VHOST

    @classmethod
    def read(cls, url: str, folder: Path, region: Region, hub_id: HubId) -> "AmqpUplink":
        """Return the way to ``amqps://host:port[,host:port...]``, our certificate in a folder.

        Raises:
            ValueError: The address says no host, or something beside hosts.
            OSError: A file cannot be read, or is no key material.
        """
        parts = urlsplit(url)
        hosts = tuple(parts.netloc.split(","))
        if parts.scheme != "amqps" or "@" in parts.netloc or not all(":" in h for h in hosts):
            raise ValueError(f"{url} is not amqps://host:port[,host:port...]")
        return cls(hosts, client_context(folder / "trust.pem", identity=folder), region, hub_id)

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator["AmqpLink"]:
        """See ``Uplink``. AMQP has no last will: a dead door is known by its silence."""
        connection = await self._connect()
        try:
            with _translated():
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    link = await self._link(connection)
            yield link
        finally:
            with suppress(TimeoutError, *_FAILURES):
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await connection.close()

    @asynccontextmanager
    async def open_sensors(self) -> AsyncIterator["AmqpSensorLink"]:
        """See ``SensorInbox``. A connection of its own: publishing may be held up, reading not."""
        connection = await self._connect()
        try:
            with _translated():
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    link = await _sensor_link(connection)
            yield link
        finally:
            with suppress(TimeoutError, *_FAILURES):
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await connection.close()

    async def _connect(self) -> AbstractConnection:
        failed: list[str] = []
        for host in self.hosts:
            url = f"amqps://{host}/{quote(self.vhost, safe='')}"
            try:
                with _translated():
                    async with asyncio.timeout(CONNECT_WITHIN_S):
                        return await aio_pika.connect(
                            f"{url}?auth=external&heartbeat={HEARTBEAT_S}", ssl_context=self.tls
                        )
            except LinkLostError as exc:
                failed.append(f"{host}: {exc}")
        raise LinkLostError(f"no node answers: {'; '.join(failed)}")

    async def _link(self, connection: AbstractConnection) -> "AmqpLink":
        channel: AbstractChannel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(queues.TOPICS, ensure=False)
        link = AmqpLink(exchange, self.region, self.hub_id)
        # The name a hub's own subscription has: the only queues its user may declare.
        name = f"mqtt-subscription-{self.hub_id}.{secrets.token_hex(8)}qos1"
        queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
        await queue.bind(queues.TOPICS, link.key(Channel.RECEIPT))
        await queue.consume(link.take, no_ack=True)
        for each in (channel, connection):
            each.close_callbacks.add(lambda _, why: link.end(str(why or "closed")))
        return link


class AmqpLink:
    """See ``gateway.ports.Link``."""

    def __init__(self, exchange: AbstractExchange, region: Region, hub_id: HubId) -> None:
        """Take an open exchange, with publisher confirms."""
        self._exchange, self._region, self._hub_id = exchange, region, hub_id
        self._receipts: asyncio.Queue[bytes | None] = asyncio.Queue(RECEIPTS_MAX)
        self._gone: str | None = None

    def key(self, channel: Channel) -> str:
        """Return the routing key of one of our channels."""
        return queues.routing_key(topic(self._region, self._hub_id, channel))

    async def send(self, body: bytes) -> bool:
        """See ``Link``: mandatory and confirmed, so every queue it is for has it."""
        await self._publish(Channel.BATCH, body, mandatory=True)
        return True

    async def say(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """See ``Link``; nothing is retained over AMQP."""
        await self._publish(channel, body, mandatory=False)

    async def receipts(self) -> AsyncIterator[bytes]:
        """See ``Link``."""
        while self._gone is None or not self._receipts.empty():
            body = await self._receipts.get()
            if body is not None:
                yield body
        raise LinkLostError(f"broker: {self._gone}")

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Keep a receipt; one that finds no room is asked for again by a resend."""
        with suppress(asyncio.QueueFull):
            self._receipts.put_nowait(message.body)

    def end(self, why: str) -> None:
        """Note that the broker is gone."""
        self._gone = self._gone or why
        with suppress(asyncio.QueueFull):
            self._receipts.put_nowait(None)

    async def _publish(self, channel: Channel, body: bytes, *, mandatory: bool) -> None:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        with _translated():
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._exchange.publish(message, self.key(channel), mandatory=mandatory)


async def _sensor_link(connection: AbstractConnection) -> "AmqpSensorLink":
    channel: AbstractChannel = await connection.channel()
    link = AmqpSensorLink(await channel.get_exchange(queues.TOPICS, ensure=False))
    for each in (channel, connection):
        each.close_callbacks.add(lambda _, why: link.end(str(why or "closed")))
    for name, prefetch, take in (
        (Queue.SENSORS, SENSORS_LENT_MAX, link.take),
        (Queue.DEAD_SENSORS, 1, link.take_suspect),
    ):
        await channel.set_qos(prefetch_count=prefetch)  # of the consumers that come after it
        await (await channel.get_queue(name, ensure=False)).consume(take)
    return link


@dataclass(frozen=True, slots=True)
class AmqpSaid:
    """See ``gateway.ports.Said``."""

    message: AbstractIncomingMessage

    @property
    def topic(self) -> str:
        """See ``Said``."""
        return queues.topic(self.message.routing_key or "")

    @property
    def body(self) -> bytes:
        """See ``Said``."""
        return self.message.body

    @property
    def lent_before(self) -> int:
        """See ``Said``. The broker counts; what was set aside begins anew."""
        count = self.message.headers.get("x-delivery-count")
        return count if isinstance(count, int) else 0

    async def ack(self) -> None:
        """See ``Said``."""
        with _translated():
            await self.message.ack()


class AmqpSensorLink:
    """See ``gateway.ports.SensorLink``."""

    def __init__(self, exchange: AbstractExchange) -> None:
        """Take an open exchange."""
        self._exchange = exchange
        self._messages: asyncio.Queue[AmqpSaid | None] = asyncio.Queue()
        self._suspects: asyncio.Queue[AmqpSaid | None] = asyncio.Queue()
        self._gone = ""

    def messages(self) -> AsyncIterator[AmqpSaid]:
        """See ``SensorLink``: at most ``SENSORS_LENT_MAX`` are lent."""
        return self._taken(self._messages)

    def suspects(self) -> AsyncIterator[AmqpSaid]:
        """See ``SensorLink``."""
        return self._taken(self._suspects)

    async def tell(self, sensor_id: SensorId, body: bytes) -> None:
        """See ``SensorLink``."""
        key = queues.routing_key(sensor_status(sensor_id))
        with _translated():
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._exchange.publish(aio_pika.Message(body), key, mandatory=False)

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Keep what the broker has lent: its own bound is ours."""
        self._messages.put_nowait(AmqpSaid(message))

    async def take_suspect(self, message: AbstractIncomingMessage) -> None:
        """Keep the one suspect the broker has lent."""
        self._suspects.put_nowait(AmqpSaid(message))

    def end(self, why: str) -> None:
        """Note that the broker is gone."""
        self._gone = self._gone or why
        for each in (self._messages, self._suspects):
            each.put_nowait(None)

    async def _taken(self, lent: asyncio.Queue[AmqpSaid | None]) -> AsyncIterator[AmqpSaid]:
        while (said := await lent.get()) is not None and not self._gone:
            yield said
        raise LinkLostError(f"broker: {self._gone}")


_FAILURES: Final = (
    aiormq.exceptions.AMQPError,
    aio_pika.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    OSError,
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, *_FAILURES) as exc:
        raise LinkLostError(f"broker: {type(exc).__name__} {exc}".strip()) from exc
