"""Packets of one connection, handed to the broker library only whole and only legal."""

import asyncio
from typing import Final

import structlog
from amqtt.adapters import ReaderAdapter

from gateway.core.connect import MalformedPacketError
from gateway.core.limits import PACKET_BYTES_MAX
from gateway.core.packet import body_bytes, check
from gateway.ports import Guest, Meter

_KEEP_ALIVE_GRACE: Final = 1.5  # MQTT 3.1.1, section 3.1.2.10
log = structlog.get_logger()


class PacketReader(ReaderAdapter):  # type: ignore[misc]  # the library is untyped
    """Reads at packet borders, so an illegal or oversized packet is never buffered.

    It stops reading while the client does not read what we answer: TCP then slows the client,
    and none can fill the broker's memory with unsent acknowledgements.
    """

    def __init__(self, guest: Guest, meter: Meter) -> None:
        """Start with the CONNECT packet the door has already read."""
        self._guest = guest
        self._meter = meter
        self._packet = guest.first
        self._at = 0
        self._header = bytearray()
        self._ended = False
        keep_alive_s = guest.connect.keep_alive_s
        self._quiet_s = keep_alive_s * _KEEP_ALIVE_GRACE if keep_alive_s else None

    async def read(self, n: int = -1) -> bytes:
        """Return exactly ``n`` bytes of one packet, or nothing once the connection has ended."""
        if self._at == len(self._packet) and not self._ended:
            try:
                await self._next_packet()
            except (MalformedPacketError, TimeoutError) as exc:
                self._refuse(str(exc) or "silent for too long")
            except (asyncio.IncompleteReadError, OSError):
                self._ended = True
        if not self._ended and self._at + n > len(self._packet):
            self._refuse("a field ends after its packet")
        if self._ended:
            return b""
        chunk = self._packet[self._at : self._at + n]
        self._at += n
        return chunk

    def feed_eof(self) -> None:
        """Let nothing more be read."""
        self._ended = True

    async def _next_packet(self) -> None:
        """Replace the current packet. Cancelling loses nothing: a half-read header is kept."""
        await self._guest.writer.drain()
        async with asyncio.timeout(self._quiet_s):
            while (length := body_bytes(self._header, bytes_max=PACKET_BYTES_MAX)) is None:
                self._header += await self._guest.reader.readexactly(1)
            body = await self._guest.reader.readexactly(length)
        check(self._header[0], body)
        self._packet, self._at = bytes(self._header) + body, 0
        self._header.clear()

    def _refuse(self, reason: str) -> None:
        log.warning("packet_refused", client=self._guest.identity.name, reason=reason)
        self._meter.refused("packet")
        self._ended = True
        self._guest.close()
