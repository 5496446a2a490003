"""MQTT as an inbox and as lanes: the only module of the cloud that knows aiomqtt.

PUBACK promises nothing here (aiomqtt sends it by itself), so ``ack`` does nothing: what is not
committed has no receipt, and its hub sends it again.
"""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiomqtt

from cloud.tasks import heed_cancellation, together
from wire import topics
from wire.clock import Clock
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.limits import MIB
from wire.topics import Lane

INBOX_BYTES_MAX: Final = 96 * MIB  # 6,000 batches of 10 KB, half as much again to spare
BURST_MAX: Final = 32
IN_FLIGHT_MAX: Final = 256
TIMEOUT_S: Final = 15.0
KEEPALIVE_S: Final = 30
GOODBYE_WITHIN_S: Final = 2.0
_QOS: Final = 1
# Else a small packet waits for a delayed acknowledgement of the one before it: up to 40 ms.
_AT_ONCE: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and who we are there.

    Attributes:
        host: Its name or address.
        port: TCP.
        name: Our identity.
        token: The secret that proves it.
    """

    host: str
    port: int
    name: str
    token: str

    @classmethod
    def read(cls, url: str, token_file: Path) -> "Broker":
        """Return the broker at ``mqtt://NAME@host:port``, its token read from a file.

        Raises:
            ValueError: The address says no name, host or port.
            OSError: The file cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme != "mqtt" or not (parts.hostname and parts.port and parts.username):
            raise ValueError(f"{url} is not mqtt://NAME@host:port")
        token = token_file.read_text().strip()
        return cls(parts.hostname, parts.port, parts.username, token)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came."""

    topic: str
    body: bytes
    received_at_ms: UnixMs

    async def ack(self) -> None:
        """See the module: a receipt is the only promise."""


class _Client(aiomqtt.Client):
    """A client that does not wait for the answer of a broker that hung up before giving it."""

    def _on_disconnect(self, *told: Any) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("hung up instead of answering"))
        super()._on_disconnect(*told)


class _Mailbox(asyncio.Queue[aiomqtt.Message]):
    """What aiomqtt fills: messages up to a number of bytes, and one wake-up a burst."""

    def __init__(self, keeps: Callable[[str], bool], clock: Clock, bytes_max: int) -> None:
        super().__init__()
        self._keeps, self._clock, self._bytes_max = keeps, clock, bytes_max
        self._held: deque[Message] = deque()
        self.bytes = 0
        self.dropped = 0

    def put_nowait(self, item: aiomqtt.Message) -> None:
        topic, body = str(item.topic), item.payload
        if not self._keeps(topic):
            return
        if self.bytes + len(body) > self._bytes_max:
            self.dropped += 1
            return
        self.bytes += len(body)
        self._held.append(Message(topic, body, self._clock.now_ms()))
        if self.empty():
            super().put_nowait(item)

    def take(self) -> list[Message]:
        taken = [self._held.popleft() for _ in range(min(BURST_MAX, len(self._held)))]
        self.bytes -= sum(len(message.body) for message in taken)
        return taken


class Mqtt:
    """One connection, both ``Inbox`` and ``Lanes``."""

    def __init__(self, client: aiomqtt.Client, mailbox: _Mailbox) -> None:
        """Take a connected client and the queue it fills."""
        self._client = client
        self._mailbox = mailbox

    @property
    def dropped(self) -> int:
        """How many messages found no room since the start; their hubs send them again."""
        return self._mailbox.dropped

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken."""
        return self._mailbox.bytes

    async def deliveries(self) -> AsyncIterator[Sequence[Message]]:
        """See ``Inbox``."""
        with _translated():
            async for _ in self._client.messages:
                while burst := self._mailbox.take():
                    yield burst
                    await asyncio.sleep(0)  # a backlog must not starve the connection

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See ``Lanes``."""
        for first in range(0, len(messages), IN_FLIGHT_MAX):
            with _translated():
                some = messages[first : first + IN_FLIGHT_MAX]
                await together(*(self._client.publish(*message, _QOS) for message in some))

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``."""
        await self.publish([(topics.lane_topic(lane), body)])


@asynccontextmanager
async def connected(
    broker: Broker,
    client_id: str,
    filters: Collection[str],
    clock: Clock,
    *,
    keeps: Callable[[str], bool] = lambda _: True,
    bytes_max: int = INBOX_BYTES_MAX,
) -> AsyncIterator[Mqtt]:
    """Lend a connection subscribed to ``filters``; the broker keeps them while we are away.

    Args:
        broker: Where.
        client_id: Stable, one a process, such as ``ingest-0``.
        filters: Topic filters, QoS 1.
        clock: Dates what comes.
        keeps: Which topics are ours among those that match; the others are not even counted.
        bytes_max: How much may wait; beyond it the newest are dropped and counted.

    Raises:
        InfrastructureError: The broker cannot be reached, refuses us, or went away.
    """
    mailbox = _Mailbox(keeps, clock, bytes_max)
    client = _Client(
        broker.host,
        broker.port,
        username=broker.name,
        password=broker.token,
        identifier=client_id,
        clean_session=False,
        keepalive=KEEPALIVE_S,
        timeout=TIMEOUT_S,
        queue_type=cast("Any", lambda maxsize: mailbox),
        max_inflight_messages=IN_FLIGHT_MAX,
        socket_options=_AT_ONCE,
    )
    client.pending_calls_threshold = IN_FLIGHT_MAX  # many in flight are meant, not a leak
    with _translated():
        await client.__aenter__()
    try:
        for each in filters:
            with _translated():
                await client.subscribe(each, qos=_QOS)
        yield Mqtt(client, mailbox)
    finally:
        # A connection that has gone silent takes no goodbye; the library would wait for one.
        with suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await client.__aexit__(None, None, None)
        heed_cancellation()


def owned_by(owns: Callable[[Any], bool]) -> Callable[[str], bool]:
    """Return which hub topics belong to a worker that ``owns`` some of the hubs."""

    def keeps(topic: str) -> bool:
        levels = topic.split("/")
        return len(levels) == 5 and owns(levels[3])

    return keeps


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiomqtt.MqttError, OSError) as exc:
        heed_cancellation()
        raise InfrastructureError(f"broker: {exc}") from exc
    heed_cancellation()
