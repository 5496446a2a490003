"""Many hubs in one process: MQTT over TLS by certificate, hello, batches, and holding till receipt.

They keep what a real agent keeps on disk in memory, and otherwise speak as it does: full-jitter
back-off, as much patience, a will and a birth, hello first, evidence on the urgent channel, resends
of what has no receipt.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import SystemRandom
from typing import Final

from edge_agent.adapters.uplink import LET_IN_WITHIN_S_MAX, let_in_within_s
from edge_agent.forward import STEADY_AFTER_MS, pause_ms
from tests.support import raw_mqtt
from tests.support.builders import NORTH, a_batch, a_seal
from wire import ranges
from wire.batch import Kind
from wire.codec import encode
from wire.control import Health, Held, Hello, decode_receipt, encode_health, encode_hello
from wire.ids import Epoch, HubId, UnixMs
from wire.limits import RESEND_AFTER_MS
from wire.topics import Channel, topic

EVERY_S: Final = 10.0
ROWS: Final = 8
FIRST_SENSOR: Final = 1_000_000
_PATIENCE_S_MAX: Final = 40.0
_CONTAMINATED_PH: Final = 11.0
_PUBLISH, _QOS_1, _RETAINED = 3, 0x02, 0x01
_SUBSCRIBE_AT_QOS_0: Final = b"\x00\x01", b"\x00"
_CLEAN, _WILL, _KEEPALIVE_S = 0x02, 0x2C, 60  # the will retained, at QoS 1
_LOST: Final = (OSError, EOFError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch as it was sent last, when, and how long it may then want a receipt."""

    channel: Channel
    body: bytes
    at_s: float
    patience_s: float = RESEND_AFTER_MS / 1_000

    def again(self, now_s: float) -> "Sent":
        """Return it as sent once more: as an agent's, each resend is waited for longer."""
        return replace(self, at_s=now_s, patience_s=min(2 * self.patience_s, _PATIENCE_S_MAX))


@dataclass(slots=True, eq=False)
class StormHub:
    """One hub with one sensor.

    Attributes:
        number: Makes its sensor.
        name: Its id, and its certificate's common name.
        port: The broker's, on this machine.
        context: Shows its certificate.
        observed_ms: The time of its next reading; a second passes from one to the next.
        on_return: Called with it at the first receipt of each connection.
        sealed: Batches so far; the next one's sequence.
        readings: How many readings were sealed, copies left out.
        held: Those without a receipt.
        receipts: How many came.
        links: How many connections have brought a receipt.
        is_over: It seals no more by itself, and only resends.
    """

    number: int
    name: HubId
    port: int
    context: ssl.SSLContext
    observed_ms: int
    on_return: Callable[["StormHub"], None]
    sealed: int = 0
    readings: int = 0
    held: dict[int, Sent] = field(default_factory=dict)
    receipts: int = 0
    links: int = 0
    is_over: bool = False
    _epoch: Epoch = field(default_factory=lambda: Epoch(secrets.randbits(63)))
    _id: str = field(default_factory=lambda: secrets.token_hex(8))
    _writer: asyncio.StreamWriter | None = None
    _packet: int = 0
    _in_vain: int = 0

    @property
    def sensor_id(self) -> int:
        """Its only sensor."""
        return FIRST_SENSOR + self.number

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands that has brought a receipt."""
        return self._writer is not None

    async def run(self, after_s: float) -> None:
        """Keep a link open and batches flowing, from some time on, until cancelled."""
        failures, nobody, chance = 0, 0, SystemRandom().random
        await asyncio.sleep(after_s)
        while True:
            since_s = time.monotonic()
            try:
                await self._one_link()
            except* _LOST as lost:
                self._writer = None
                nobody = nobody + 1 if lost.subgroup(ConnectionRefusedError) else 0
            steady = time.monotonic() - since_s >= STEADY_AFTER_MS / 1_000
            failures = 0 if steady else failures + 1
            await asyncio.sleep(pause_ms(failures, nobody, chance()) / 1_000)

    def seal(self) -> None:
        """Seal one batch, and send it at once where there is a link."""
        values = [7.0 + (self.observed_ms // 1_000 + row) % 7 / 10 for row in range(ROWS)]
        self._seal(Kind.ROUTINE, values)
        self.observed_ms += 1_000 * ROWS

    def contaminate(self) -> int:
        """Seal readings that must become an alert, their evidence first; return when, Unix ns."""
        sent_ns = time.time_ns()
        for kind in (Kind.EVIDENCE, Kind.ROUTINE):
            self._seal(kind, [_CONTAMINATED_PH] * ROWS)
        self.observed_ms += 1_000 * ROWS
        return sent_ns

    def _seal(self, kind: Kind, values: list[float]) -> None:
        sequence, self.sealed = self.sealed, self.sealed + 1
        times = [self.observed_ms + 1_000 * row for row in range(ROWS)]
        seal = a_seal(sequence, hub=self.name, epoch=self._epoch, kind=kind)
        batch = a_batch(seal=seal, sensors=[self.sensor_id] * ROWS, times=times, ph=values)
        channel = Channel.URGENT if kind is Kind.EVIDENCE else Channel.BATCH
        self.readings += ROWS if kind is Kind.ROUTINE else 0
        self.held[sequence] = Sent(channel, encode(batch), time.monotonic())
        if self._writer is not None:
            self._say(self._writer, channel, self.held[sequence].body)

    async def _one_link(self) -> None:
        within_s = let_in_within_s(self._in_vain)
        self._in_vain += 1
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection(
                *("127.0.0.1", self.port),
                ssl=self.context,
                server_hostname="localhost",
                ssl_handshake_timeout=LET_IN_WITHIN_S_MAX,
            )
        try:
            async with asyncio.timeout(within_s):
                writer.write(self._connect())
                if await reader.readexactly(4) != raw_mqtt.CONNACK:
                    raise ConnectionError("refused")
                writer.write(self._subscribe())
                await reader.readexactly(5)
            self._in_vain = 0
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._speak(writer))
                await self._listen(reader, writer)
        finally:
            self._writer = None
            with suppress(*_LOST):
                writer.transport.abort()

    def _connect(self) -> bytes:
        will = self._health(online=False)
        head = raw_mqtt.text("MQTT") + bytes((4, _CLEAN | _WILL, 0, _KEEPALIVE_S))
        name = raw_mqtt.text(f"{self.name}.{self._id}")
        last = raw_mqtt.text(topic(NORTH, self.name, Channel.STATUS))
        return raw_mqtt.packet(0x10, head + name + last + len(will).to_bytes(2, "big") + will)

    def _subscribe(self) -> bytes:
        number, qos = _SUBSCRIBE_AT_QOS_0
        return raw_mqtt.packet(
            0x82, number + raw_mqtt.text(topic(NORTH, self.name, Channel.RECEIPT)) + qos
        )

    def _health(self, *, online: bool) -> bytes:
        epochs = ((self._epoch, self.sealed),)
        now_ms = UnixMs(time.time_ns() // 1_000_000)
        return encode_health(Health(online, "storm", epochs, clock_trusted=True, at_ms=now_ms))

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        """Say that we live, and hello, then what has no receipt, then a batch again and again."""
        self._say(writer, Channel.STATUS, self._health(online=True), _RETAINED)
        for sequence, sent in self.held.items():  # asked about: what is missing goes soon
            self.held[sequence] = replace(sent, patience_s=RESEND_AFTER_MS / 1_000)
        held = ranges.from_numbers(self.held)[:64]
        hello = encode_hello(Hello((Held(self._epoch, self.sealed, held),)))
        self._say(writer, Channel.HELLO, hello)
        self._writer = writer
        self.seal()
        await asyncio.sleep(SystemRandom().random() * EVERY_S)  # not all at the same moment
        while True:
            now_s = time.monotonic()
            for sequence, sent in list(self.held.items()):
                if now_s - sent.at_s >= sent.patience_s:
                    self.held[sequence] = sent.again(now_s)
                    self._say(writer, sent.channel, sent.body)
            if not self.is_over:
                self.seal()
            await writer.drain()
            await asyncio.sleep(EVERY_S)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_first = True
        while True:
            head, body = await _packet(reader)
            if head >> 4 != _PUBLISH:
                continue
            name = 2 + int.from_bytes(body[:2], "big")
            if head & _QOS_1:
                writer.write(raw_mqtt.packet(0x40, body[name : name + 2]))
                name += 2
            receipt = decode_receipt(body[name:])
            for low, high in receipt.received if receipt.epoch == self._epoch else ():
                for sequence in [each for each in self.held if low <= each < high]:
                    del self.held[sequence]
            self.receipts += 1
            if is_first:
                is_first = False
                self.links += 1
                self.on_return(self)

    def _say(
        self, writer: asyncio.StreamWriter, channel: Channel, body: bytes, flag: int = 0
    ) -> None:
        self._packet = self._packet % 65_535 + 1
        name = raw_mqtt.text(topic(NORTH, self.name, channel))
        writer.write(raw_mqtt.packet(0x32 | flag, name + self._packet.to_bytes(2, "big") + body))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head, length, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        (low,) = await reader.readexactly(1)
        length |= (low & 0x7F) << shift
        if not low & 0x80:
            return head, await reader.readexactly(length)
        shift += 7
