"""Many hubs in one process: MQTT over TLS by certificate, hello, batches, and holding till receipt.

They keep what a real agent keeps on disk in memory, and otherwise speak as it does: full-jitter
back-off, hello first, resends of what has no receipt.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final

from edge_agent.forward import BACKOFF_MS, BACKOFF_MS_MAX, STEADY_AFTER_MS
from tests.support import raw_mqtt
from tests.support.builders import NORTH, a_batch, a_seal
from wire import ranges
from wire.codec import encode
from wire.control import Held, Hello, decode_receipt, encode_hello
from wire.ids import Epoch, HubId
from wire.topics import Channel, topic

EVERY_S: Final = 10.0
ROWS: Final = 8
FIRST_SENSOR: Final = 1_000_000
_ANSWER_WITHIN_S: Final = 20.0
_CONTAMINATED_PH: Final = 11.0
_PUBLISH, _QOS_1 = 3, 0x02
_LOST: Final = (OSError, EOFError, TimeoutError, ssl.SSLError)


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
        held: Those without a receipt, and when each was sent last.
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
    held: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    receipts: int = 0
    links: int = 0
    is_over: bool = False
    _epoch: Epoch = field(default_factory=lambda: Epoch(secrets.randbits(63)))
    _id: str = field(default_factory=lambda: secrets.token_hex(8))
    _writer: asyncio.StreamWriter | None = None
    _packet: int = 0

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
        failures, chance = 0, SystemRandom().random
        await asyncio.sleep(after_s)
        while True:
            since_s = time.monotonic()
            try:
                await self._one_link()
            except* _LOST:
                self._writer = None
            steady = time.monotonic() - since_s >= STEADY_AFTER_MS / 1_000
            failures = 0 if steady else failures + 1
            longest_ms = min(BACKOFF_MS << min(failures, 10), BACKOFF_MS_MAX)
            await asyncio.sleep(chance() * longest_ms / 1_000)

    def seal(self, ph: float | None = None) -> int:
        """Seal one batch, send it at once where there is a link; return its sequence."""
        sequence = self.sealed
        times = range(self.observed_ms, self.observed_ms + 1_000 * ROWS, 1_000)
        values = [ph or 7.0 + (at // 1_000 % 7) / 10 for at in times]
        seal = a_seal(sequence, hub=self.name, epoch=self._epoch)
        batch = a_batch(seal=seal, sensors=[self.sensor_id] * ROWS, times=list(times), ph=values)
        self.sealed, self.observed_ms = sequence + 1, times[-1] + 1_000
        self.held[sequence] = (encode(batch), time.monotonic())
        if self._writer is not None:
            self._say(self._writer, Channel.BATCH, self.held[sequence][0])
        return sequence

    def contaminate(self) -> int:
        """Seal a batch that must become an alert; return when, Unix ns."""
        sent_ns = time.time_ns()
        self.seal(_CONTAMINATED_PH)
        return sent_ns

    async def _one_link(self) -> None:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.context, server_hostname="localhost"
            )
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                writer.write(raw_mqtt.connect(f"{self.name}.{self._id}"))
                if await reader.readexactly(4) != raw_mqtt.CONNACK:
                    raise ConnectionError("refused")
                writer.write(raw_mqtt.subscribe(topic(NORTH, self.name, Channel.RECEIPT)))
                await reader.readexactly(5)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._speak(writer))
                await self._listen(reader, writer)
        finally:
            self._writer = None
            with suppress(*_LOST):
                writer.transport.abort()

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        """Say hello, then what has no receipt, then a batch again and again."""
        held = ranges.from_numbers(self.held)[:64]
        hello = encode_hello(Hello((Held(self._epoch, self.sealed, held),)))
        self._say(writer, Channel.HELLO, hello)
        self._writer = writer
        self.seal()
        await asyncio.sleep(SystemRandom().random() * EVERY_S)  # not all at the same moment
        while True:
            now_s = time.monotonic()
            for sequence, (body, sent_s) in list(self.held.items()):
                if now_s - sent_s >= EVERY_S:
                    self.held[sequence] = (body, now_s)
                    self._say(writer, Channel.BATCH, body)
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

    def _say(self, writer: asyncio.StreamWriter, channel: Channel, body: bytes) -> None:
        self._packet = self._packet % 65_535 + 1
        name = raw_mqtt.text(topic(NORTH, self.name, channel))
        writer.write(raw_mqtt.packet(0x32, name + self._packet.to_bytes(2, "big") + body))


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head, length, shift = (await reader.readexactly(1))[0], 0, 0
    while True:
        (low,) = await reader.readexactly(1)
        length |= (low & 0x7F) << shift
        if not low & 0x80:
            return head, await reader.readexactly(length)
        shift += 7
