"""The sensors' broker inside the agent: amqtt keeps sessions and subscriptions, we keep the data.

Each connection is read here, packet by packet. Readings go straight to ``Accept``, which makes the
connection wait while there is no room, and no sooner than its pace allows; amqtt, whose queues have
no bounds, never sees them. It serves connects, subscriptions and pings. When it stops answering it
is started anew: nothing a sensor was told is committed lives in it.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import structlog
from amqtt.adapters import ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.errors import AMQTTError, BrokerError, MQTTError, NoDataError, ProtocolHandlerError
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from transitions import MachineError

from edge_agent.adapters.mqtt import Account, connect
from edge_agent.core.framing import (
    Answer,
    Type,
    acknowledge,
    length_of,
    publish_packet,
    read_publish,
)
from edge_agent.core.pace import Pace
from edge_agent.ports import Accept, LinkLostError
from edge_agent.tasks import heed_cancellation
from wire.clock import Clock
from wire.ids import SensorId
from wire.limits import KIB, SENSOR_MESSAGE_BYTES_MAX
from wire.topics import sensor_status

CONNECTIONS_MAX: Final = 512
PACKET_BYTES_MAX: Final = SENSOR_MESSAGE_BYTES_MAX + 256
READ_AHEAD_BYTES: Final = 8 * KIB
UNREAD_BYTES_MAX: Final = 64 * KIB
CONTROL_PACKETS_MAX: Final = 16
CONNECT_WITHIN_S: Final = 10.0
PROBE_EVERY_MS: Final = 30_000
STOP_WITHIN_S: Final = 5.0
SILENT_PEER_S: Final = 60
EVERY_STATUS: Final = "sensors/+/status"

# What a foreign broker's tasks are known to raise under churn; each costs one connection.
_FOREIGN_FAULTS: Final = (
    AMQTTError, BrokerError, MQTTError, NoDataError, ProtocolHandlerError, MachineError,
    RuntimeError, OSError, LookupError, ValueError, AttributeError, TypeError,
)  # fmt: skip

log = structlog.get_logger()
logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)


class EmbeddedListener:
    """``SensorSide`` on a socket of our own."""

    def __init__(
        self, host: str, port: int, clock: Clock, counts: Counter[str], pace: Pace | None = None
    ) -> None:
        self._host, self._port = host, port
        self._clock = clock
        self._counts = counts
        self._pace = pace or Pace()
        self._broker: Broker | None = None
        self._open: set[_Connection] = set()

    @property
    def connections(self) -> int:
        """How many sensors are connected now."""
        return len(self._open)

    async def run(self, accept: Accept) -> None:
        """See ``SensorSide``."""
        while True:
            try:
                await self._serve(accept)
            except* _SilentError:
                self._counts["listener_restarts"] += 1
                log.error("listener stopped answering; starting it anew")
            heed_cancellation()

    async def tell(self, statuses: Iterable[tuple[SensorId, bytes]]) -> None:
        """See ``SensorSide``."""
        if self._broker is None:
            return
        for sensor_id, body in statuses:
            topic = sensor_status(sensor_id)
            packet = publish_packet(topic, body)
            for name in (topic, EVERY_STATUS):
                for session, _ in self._broker.subscriptions.get(name, ()):
                    _, handler = self._broker.sessions.get(session.client_id, (None, None))
                    if handler is not None and handler.writer is not None:
                        handler.writer.write(packet)

    async def _serve(self, accept: Accept) -> None:
        broker = Broker(
            {
                "listeners": {"default": {"type": "external", "bind": "none:0"}},
                "plugins": {f"{__name__}.Anyone": {}, f"{__name__}.StatusOnly": {}},
            }
        )
        await broker.start()
        self._broker = broker
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._listen(broker, accept, tasks)
        finally:
            self._broker = None
            with suppress(TimeoutError, *_FOREIGN_FAULTS):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await broker.shutdown()

    async def _listen(self, broker: Broker, accept: Accept, tasks: asyncio.TaskGroup) -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.create_task(self._converse(broker, accept, reader, writer), name="sensor")

        try:
            server = await asyncio.start_server(
                connected, sock=_bound(self._host, self._port), limit=READ_AHEAD_BYTES
            )
        except OSError as exc:
            raise LinkLostError(f"cannot listen on {self._host}:{self._port}: {exc}") from exc
        log.info("listening for sensors", host=self._host, port=self._port)
        async with server:
            while True:
                await self._clock.sleep_ms(PROBE_EVERY_MS)
                await self._probe()

    async def _probe(self) -> None:
        """Connect as a sensor would.

        Raises:
            _SilentError: No answer.
        """
        account = Account(self._host, self._port, "headgate-probe")
        try:
            async with connect(account, queued_max=1):
                return
        except LinkLostError as exc:
            raise _SilentError from exc

    async def _converse(
        self,
        broker: Broker,
        accept: Accept,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        connection = _Connection(reader, writer, accept, self._pace, self._clock)
        if len(self._open) >= CONNECTIONS_MAX:
            self._counts["connections_refused"] += 1
            writer.transport.abort()
            return
        self._open.add(connection)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(connection.read_packets(), name="packets")
                await broker.external_connected(connection.reader, connection.writer, "default")
                reading.cancel()
        except* _FOREIGN_FAULTS as faults:
            self._counts["connection_faults"] += 1
            log.warning("sensor connection failed", why=repr(faults.exceptions[0])[:200])
        finally:
            self._counts["arrivals_paused"] += connection.pauses
            self._open.discard(connection)
            writer.transport.abort()


class _SilentError(Exception):
    """The broker inside no longer answers."""


class _Connection:
    """One sensor's connection: the data taken out, the rest passed on to amqtt."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        accept: Accept,
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._stream = reader
        self._accept = accept
        self._pace = pace
        self._clock = clock
        self.pauses = 0
        self.reader = _Packets()
        self.writer = _Writer(writer)
        _notice_dead_peers(writer.get_extra_info("socket"))

    async def read_packets(self) -> None:
        """Read until the peer is gone, or breaks the protocol, which amqtt hears as the end."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                first, packet, _ = await self._packet()
            if first >> 4 != Type.CONNECT:
                raise ValueError("the first packet is no connect")
            await self.reader.give(packet)
            await self.writer.answered.wait()
            while True:
                await self._one(*await self._packet())
        except (ValueError, TimeoutError, EOFError, OSError):
            await self.reader.give(b"")

    async def _one(self, first: int, packet: bytes, rest: bytes) -> None:
        if self.writer.unread > UNREAD_BYTES_MAX:
            raise ValueError("the peer does not read what it asks for")
        match first >> 4:
            case Type.PUBLISH:
                await self._publish(first, rest)
            case Type.PUBREL:
                # Taking a message twice is harmless here, so QoS 2 needs no memory of its own.
                self.writer.write(acknowledge(Answer.PUBCOMP, int.from_bytes(rest[:2], "big")))
            case _:
                await self.reader.give(packet)

    async def _publish(self, first: int, rest: bytes) -> None:
        message = read_publish(first, rest)
        readings = await self._accept(message.topic, message.body)
        if message.answer is not None and message.packet_id is not None:
            self.writer.write(acknowledge(message.answer, message.packet_id))
        now_ms = self._clock.steady_ms()
        self._pace = self._pace.after(readings, now_ms)
        pause_ms = self._pace.pause_ms(now_ms)
        if pause_ms > 0:
            self.pauses += 1
            await self._clock.sleep_ms(pause_ms)

    async def _packet(self) -> tuple[int, bytes, bytes]:
        """Return first byte, whole packet, and what follows its length."""
        head = await self._stream.readexactly(1)
        encoded = b""
        while (length := length_of(encoded)) is None:
            encoded += await self._stream.readexactly(1)
        if length > PACKET_BYTES_MAX:
            raise ValueError("a packet is longer than any sensor's message")
        rest = await self._stream.readexactly(length)
        return head[0], head + encoded + rest, rest


class _Packets(ReaderAdapter):  # type: ignore[misc]
    """What amqtt reads: whole control packets, one behind the other; an empty one is the end."""

    def __init__(self) -> None:
        self._packets: asyncio.Queue[bytes] = asyncio.Queue(CONTROL_PACKETS_MAX)
        self._left = b""
        self._ended = False

    async def give(self, packet: bytes) -> None:
        """Pass a packet on, once there is room."""
        await self._packets.put(packet)

    async def read(self, n: int = -1) -> bytes:
        """Return the next ``n`` bytes."""
        if not self._left and not self._ended:
            self._left = await self._packets.get()
            self._ended = not self._left
        if len(self._left) < n or self._ended:
            piece, self._left = self._left, b""
            raise asyncio.IncompleteReadError(piece, n)
        piece, self._left = self._left[:n], self._left[n:]
        return piece

    def feed_eof(self) -> None:
        """End the stream."""
        self._ended = True


class _Writer(WriterAdapter):  # type: ignore[misc]
    """What amqtt writes through. Never waits: a peer that does not read is cut off elsewhere."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.answered = asyncio.Event()

    @property
    def unread(self) -> int:
        """Bytes the peer has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send, unless the peer is gone or has stopped reading."""
        self.answered.set()
        if not self._writer.is_closing() and self.unread <= UNREAD_BYTES_MAX:
            self._writer.write(data)

    async def drain(self) -> None:
        """Return at once."""

    def get_peer_info(self) -> tuple[str, int] | None:
        """Return address and port of the peer."""
        peer = self._writer.get_extra_info("peername")
        return (peer[0], peer[1]) if peer else None

    def get_ssl_info(self) -> Any:
        """Return None: sensors speak in the clear, on the hub's own wires."""
        return None

    async def close(self) -> None:
        """Close without waiting for the peer."""
        self._writer.close()


class Anyone(BaseAuthPlugin):  # type: ignore[misc]
    """Lets every sensor in, without its last will: a will would speak past ``StatusOnly``."""

    async def authenticate(self, *, session: Any) -> bool:
        """Admit."""
        session.will_flag = False
        session.is_anonymous = True
        return True


class StatusOnly(BaseTopicPlugin):  # type: ignore[misc]
    """Sensors may hear statuses; nothing travels from one client to another."""

    async def topic_filtering(
        self, *, session: Any = None, topic: str | None = None, action: Any = None
    ) -> bool:
        """Return whether ``topic`` is a status to subscribe to."""
        levels = (topic or "").split("/")
        status = len(levels) == 3 and levels[0] == "sensors" and levels[2] == "status"
        return bool(status and action == Action.SUBSCRIBE)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket whose connections hold little: the event loop reads all the kernel has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_AHEAD_BYTES)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _notice_dead_peers(sock: socket.socket) -> None:
    """Let the kernel end connections whose other side has vanished."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_PEER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_S * 1_000)
