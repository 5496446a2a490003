"""A small MQTT broker that answers at once, never, or only for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING, _DISCONNECT = 1, 3, 8, 12, 14


class Mood(Enum):
    """How it treats those who connect."""

    SILENT = auto()  # takes everything, answers nothing
    EAGER = auto()  # answers at once
    FICKLE = auto()  # answers at once, and breaks after some messages


@dataclass(eq=False)
class AwkwardBroker:
    """Speaks as much MQTT 3.1.1 as our clients ask for.

    Attributes:
        mood: See there.
        fed: What every client is sent without pause: topic and body.
        port: Where it listens.
        connected: Who did, by client id.
        acknowledged: How many messages it has acknowledged.
    """

    mood: Mood
    fed: tuple[tuple[str, bytes], ...] = ()
    breaks_after: int = 40
    port: int = 0
    connected: set[str] = field(default_factory=set)
    acknowledged: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak to one client until it goes, or has had enough of us."""
        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(self._feed(writer))
                await self._converse(reader, writer)
                feeding.cancel()
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = 0
        while True:
            kind, flags, body = await _packet(reader)
            if kind == _DISCONNECT or (self.mood is Mood.FICKLE and heard >= self.breaks_after):
                return
            heard += 1
            if kind == _CONNECT:
                self.connected.add(body[12 : 12 + int.from_bytes(body[10:12])].decode())
            if self.mood is not Mood.SILENT:
                writer.write(self._answer(kind, flags, body))

    def _answer(self, kind: int, flags: int, body: bytes) -> bytes:
        if kind == _CONNECT:
            return b"\x20\x02\x00\x00"
        if kind == _SUBSCRIBE:
            return b"\x90\x03" + body[:2] + b"\x01"
        if kind == _PUBLISH and flags & 0b110:
            self.acknowledged += 1
            at = 2 + int.from_bytes(body[:2])
            return b"\x40\x02" + body[at : at + 2]
        return b"\xd0\x00" if kind == _PING else b""

    async def _feed(self, writer: asyncio.StreamWriter) -> None:
        """Send to whoever is there, subscribed or not: our clients ask for one thing each."""
        while self.mood is not Mood.SILENT:
            await asyncio.sleep(0.01)
            for topic, body in self.fed:
                name = topic.encode()
                writer.write(_framed(0x30, len(name).to_bytes(2) + name + body))
            await writer.drain()


@asynccontextmanager
async def awkward(mood: Mood, *fed: tuple[str, bytes]) -> AsyncIterator[AwkwardBroker]:
    """Lend a broker on a free port; it hangs up on everybody at the end."""
    broker = AwkwardBroker(mood, fed)
    async with asyncio.TaskGroup() as tasks:
        serving: list[asyncio.Task[None]] = []
        ended = False

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if ended:
                writer.transport.abort()
            else:
                serving.append(tasks.create_task(broker.serve(reader, writer)))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        broker.port = server.sockets[0].getsockname()[1]
        try:
            yield broker
        finally:
            ended = True
            server.close()
            for each in serving:
                each.cancel()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    head = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        part = (await reader.readexactly(1))[0]
        length |= (part & 127) << shift
        shift += 7
        if part < 128:
            return head >> 4, head & 15, await reader.readexactly(length)


def _framed(head: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, part = divmod(left, 128)
        length += bytes([part | (128 if left else 0)])
        if not left:
            return bytes([head]) + length + body
