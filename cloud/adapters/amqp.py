"""RabbitMQ as an inbox and as lanes: the only module of the cloud that knows aio-pika.

Two connections, since a broker short of memory or disk stops reading from those that publish:
what is taken can still be acknowledged. Nothing here reconnects; who uses it begins again.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aio_pika
import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from cloud.core.acks import Acks
from cloud.core.draining import Turns, next_lane
from cloud.tasks import heed_cancellation, together
from wire import queues
from wire.clock import Clock
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.limits import BATCH_BYTES_MAX, MIB
from wire.queues import ATTEMPTS_HEADER, RETRY_DELAYS_MS
from wire.topics import Lane, lane_topic

PREFETCH: Final = 1_024
INBOX_BYTES_MAX: Final = 256 * MIB
assert PREFETCH * BATCH_BYTES_MAX <= INBOX_BYTES_MAX
BURST_MAX: Final = 32
IN_FLIGHT_MAX: Final = 256
CONNECT_WITHIN_S: Final = 10.0
ANSWER_WITHIN_S: Final = 15.0
GOODBYE_WITHIN_S: Final = 2.0
# After three of these, and three seconds, who hears nothing takes the node for gone: no later than
# who waits for an answer. The node gives us up after two.
HEARTBEAT_S: Final = 4
assert 3 * (HEARTBEAT_S + 1) <= ANSWER_WITHIN_S
_TRANSIENT, _PERSISTENT = 1, 2
_LANES: Final = frozenset(map(str, Lane))


@dataclass(frozen=True, slots=True)
class Broker:
    """A cluster, and how we prove who we are there.

    Attributes:
        hosts: ``host:port`` of every node; the first that answers is taken, one that failed us
            is asked last from then on.
        tls: Shows our certificate, which names us.
        vhost: Where the topology is.
    """

    hosts: tuple[str, ...]
    tls: ssl.SSLContext
    vhost: str = queues.VHOST
    _failed: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def in_turn(self) -> tuple[str, ...]:
        """Every node, those that failed us last, the latest at the end."""
        return (*(host for host in self.hosts if host not in self._failed), *self._failed)

    def pass_over(self, host: str) -> None:
        """Ask a node last from now on: one that stands still costs every caller a long wait."""
        self._failed[:] = [*(each for each in self._failed if each != host), host]

    @classmethod
    def read(cls, url: str, authority: Path, certificate: Path, key: Path) -> "Broker":
        """Return the cluster at ``amqps://host:port[,host:port...]``, with our key material.

        Raises:
            ValueError: The address says no host, or something beside hosts.
            OSError: A file cannot be read, or is no such material.
        """
        parts = urlsplit(url)
        hosts = tuple(parts.netloc.split(","))
        if parts.scheme != "amqps" or "@" in parts.netloc or not all(map(_is_host, hosts)):
            raise ValueError(f"{url} is not amqps://host:port[,host:port...]")
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(certificate, key)
        return cls(hosts, context)


@dataclass(slots=True, eq=False)
class Message:
    """One message as it came.

    Attributes:
        topic: As MQTT spells it, lanes included.
        body: The bytes.
        received_at_ms: Our clock when it came.
        redelivered: How often it was lent before and came back.
        attempts: How often a lane has put it off.
    """

    topic: str
    body: bytes
    received_at_ms: UnixMs
    redelivered: int
    attempts: int
    _tag: int = field(repr=False)
    _owner: "Amqp" = field(repr=False)

    async def ack(self) -> None:
        """See ``Delivery``. Told soon, together with others; idempotent."""
        self._owner.settle(self._tag)


class Amqp:
    """One consuming and one publishing channel: ``Inbox`` and ``Lanes``."""

    def __init__(
        self, consuming: AbstractChannel, publishing: AbstractChannel, clock: Clock
    ) -> None:
        """Take two open channels, the second with publisher confirms."""
        self._consuming, self._publishing, self._clock = consuming, publishing, clock
        self._held: dict[str, deque[Message]] = {}
        self._acks = Acks()
        self._woken = asyncio.Event()
        self._gone: str | None = None

    @property
    def dropped(self) -> int:
        """Nothing is ever dropped here: what finds no room waits at the broker."""
        return 0

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken."""
        return sum(len(each.body) for held in self._held.values() for each in held)

    async def consume(self, names: Collection[str], prefetch: int) -> None:
        """Begin to take from queues, at most ``prefetch`` unacknowledged of each.

        Raises:
            InfrastructureError: A queue is missing, or not ours to read.
        """
        with translated():
            await self._consuming.basic_qos(prefetch_count=prefetch)
            for name in names:
                held = self._held.setdefault(name, deque())
                await self._consuming.basic_consume(name, self._into(held), timeout=ANSWER_WITHIN_S)

    async def deliveries(self) -> AsyncIterator[Sequence[Message]]:
        """See ``Inbox``. Whoever iterates is the one who acknowledges."""
        while True:
            await self.acknowledge()
            if burst := self._burst():
                yield burst
                await asyncio.sleep(0)
            else:
                await self._something()

    async def jobs(self) -> AsyncIterator[Message]:
        """Yield one message at a time, the lanes taking turns as ``draining`` has it.

        Raises:
            InfrastructureError: The broker is gone.
        """
        turns = Turns()
        while True:
            await self.acknowledge()
            if waiting := [lane for lane in Lane if self._held.get(lane)]:
                lane, turns = next_lane(waiting, turns)
                yield self._held[lane].popleft()
            else:
                await self._something()

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See ``Lanes``. To whom is not connected nothing goes: hubs ask again."""
        for first in range(0, len(messages), IN_FLIGHT_MAX):
            await self._confirmed(
                [
                    (queues.TOPICS, queues.routing_key(topic), body, _properties(_TRANSIENT), False)
                    for topic, body in messages[first : first + IN_FLIGHT_MAX]
                ]
            )

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``. On return a majority of the cluster has it."""
        await self._confirmed([(queues.LANES, lane, body, _properties(_PERSISTENT), True)])

    async def put_off(self, message: Message, lane: Lane) -> None:
        """Let a failed job come back, four times later each time, in the end as a dead letter.

        Raises:
            InfrastructureError: It may come back now as well: jobs are idempotent.
        """
        step = message.attempts
        exchange = queues.retry(step) if step < len(RETRY_DELAYS_MS) else queues.DEAD
        properties = _properties(_PERSISTENT, {ATTEMPTS_HEADER: step + 1})
        await self._confirmed([(exchange, lane, message.body, properties, True)])
        await message.ack()

    def settle(self, tag: int) -> None:
        """Note that a message may be forgotten."""
        if self._acks.settle(tag):
            self._woken.set()

    def end(self, why: str) -> None:
        """Note that the broker is gone; whoever waits hears of it."""
        self._gone = self._gone or why
        self._woken.set()

    async def acknowledge(self) -> None:
        """Tell the broker what it may forget.

        Raises:
            InfrastructureError: It is gone; what it was not told comes again.
        """
        if self._gone is not None:
            raise InfrastructureError(f"broker: {self._gone}")
        for tag, multiple in self._acks.take():
            with translated():
                await self._consuming.basic_ack(tag, multiple=multiple, wait=True)

    async def _something(self) -> None:
        await self._woken.wait()
        self._woken.clear()

    def _burst(self) -> list[Message]:
        burst: list[Message] = []
        for held in self._held.values():
            while held and len(burst) < BURST_MAX:
                burst.append(held.popleft())
        return burst

    def _into(self, held: deque[Message]) -> Any:
        async def take(message: DeliveredMessage) -> None:
            tag = message.delivery_tag
            assert tag is not None
            headers = message.header.properties.headers or {}
            self._acks.lend(tag)
            held.append(
                Message(
                    _topic(message.routing_key or ""),
                    message.body,
                    self._clock.now_ms(),
                    _count(headers.get("x-delivery-count")),
                    _count(headers.get(ATTEMPTS_HEADER)),
                    tag,
                    self,
                )
            )
            self._woken.set()

        return take

    async def _confirmed(
        self, messages: Sequence[tuple[str, str, bytes, Basic.Properties, bool]]
    ) -> None:
        with translated():
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await together(*(self._publish(*message) for message in messages))

    async def _publish(
        self, exchange: str, key: str, body: bytes, properties: Basic.Properties, must: bool
    ) -> None:
        answer = await self._publishing.basic_publish(
            body, exchange=exchange, routing_key=key, properties=properties, mandatory=must
        )
        if must and not isinstance(answer, Basic.Ack):
            raise InfrastructureError(f"broker: nothing is bound to {key} at {exchange}")


@asynccontextmanager
async def connected(
    broker: Broker, names: Collection[str], clock: Clock, *, prefetch: int = PREFETCH
) -> AsyncIterator[Amqp]:
    """Lend a broker's queues and lanes; what is not acknowledged at the end comes again.

    Args:
        broker: Where.
        names: Queues to take from; none to publish only.
        clock: Dates what comes.
        prefetch: How many messages of a queue may be with us, unacknowledged.

    Raises:
        InfrastructureError: No node can be reached, it refuses us, or it went away.
    """
    async with AsyncExitStack() as open_now:
        consuming, publishing = [await open_now.enter_async_context(link(broker)) for _ in "ab"]
        with translated():
            async with asyncio.timeout(ANSWER_WITHIN_S):
                inward = await consuming.channel(publisher_confirms=False)
                outward = await publishing.channel(on_return_raises=False)
                amqp = Amqp(
                    await inward.get_underlay_channel(), await outward.get_underlay_channel(), clock
                )
        for each in (inward, outward, consuming, publishing):
            each.close_callbacks.add(lambda _, why: amqp.end(str(why or "closed")))
        await amqp.consume(names, prefetch)
        try:
            yield amqp
        finally:
            with suppress(InfrastructureError, TimeoutError):
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await amqp.acknowledge()
            heed_cancellation()


@asynccontextmanager
async def link(broker: Broker) -> AsyncIterator[AbstractConnection]:
    """Lend a connection to the first node that answers.

    Raises:
        InfrastructureError: None does, or it refuses us.
    """
    host, connection = await _connect(broker)
    try:
        yield connection
    except InfrastructureError:
        broker.pass_over(host)
        raise
    finally:
        with suppress(TimeoutError, *_FAILURES):
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await connection.close()


async def _connect(broker: Broker) -> tuple[str, AbstractConnection]:
    failed: list[str] = []
    for host in broker.in_turn:
        url = f"amqps://{host}/{quote(broker.vhost, safe='')}?auth=external&heartbeat={HEARTBEAT_S}"
        try:
            with translated():
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    return host, await aio_pika.connect(url, ssl_context=broker.tls)
        except InfrastructureError as exc:
            broker.pass_over(host)
            failed.append(f"{host}: {exc}")
    raise InfrastructureError(f"no node answers: {'; '.join(failed)}")


_FAILURES: Final = (
    aiormq.exceptions.AMQPError,
    aio_pika.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
    ConnectionError,
    OSError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what only the broker can be blamed for as our own.

    Raises:
        InfrastructureError: It could not serve us just now; worth another try.
    """
    try:
        yield
    except (TimeoutError, *_FAILURES) as exc:
        heed_cancellation()
        raise InfrastructureError(f"broker: {type(exc).__name__} {exc}".strip()) from exc
    heed_cancellation()


def _properties(mode: int, headers: dict[str, Any] | None = None) -> Basic.Properties:
    return Basic.Properties(delivery_mode=mode, headers=headers)


def _topic(key: str) -> str:
    """Return what a stage knows a message by, whichever broker carried it."""
    return lane_topic(Lane(key)) if key in _LANES else queues.topic(key)


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _is_host(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
