"""The MQTT door: nobody reaches the broker before saying, and proving, who they are."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

import structlog

from gateway.core.connect import Connect, MalformedPacketError, Refusal, connack, parse_connect
from gateway.core.identity import Identity, owns_client_id, proves
from gateway.core.limits import CONNECT_BYTES_MAX, CONNECT_WITHIN_S, CONNECTIONS_MAX
from gateway.core.packet import Kind, body_bytes
from gateway.core.rules import may_publish
from gateway.ports import Broker, Directory, Guest, Meter

_REVOKE_EVERY_S: Final = 1.0
_TAKE_OVER_WITHIN_S: Final = 5.0
log = structlog.get_logger()


class MqttDoor:
    """Accepts connections, admits the enrolled, and shows out who is enrolled no longer."""

    def __init__(self, directory: Directory, broker: Broker, meter: Meter) -> None:
        """Take the neighbours; own none of them."""
        self._directory = directory
        self._broker = broker
        self._meter = meter
        self._open = 0
        self._guests: dict[str, Guest] = {}
        self._nameless = itertools.count()

    async def serve(self, host: str, port: int, on_open: Callable[[int], None]) -> None:
        """Serve until cancelled; call ``on_open`` with the port once connections are accepted.

        Raises:
            OSError: The address is taken or not ours.
        """
        async with await asyncio.start_server(self._welcome, host, port) as server:
            on_open(server.sockets[0].getsockname()[1])
            while True:
                await asyncio.sleep(_REVOKE_EVERY_S)
                self._show_out()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self._meter.connections(self._open)
        try:
            if self._open <= CONNECTIONS_MAX:
                await self._receive(reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # a silent or broken peer has nothing to be told
        except MalformedPacketError as exc:
            self._meter.refused("connect")
            log.warning("connect_refused", reason=str(exc))
        finally:
            self._open -= 1
            self._meter.connections(self._open)
            writer.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_WITHIN_S):
            first, body = await _first_packet(reader)
        connect = parse_connect(body)
        verdict = admit(connect, self._directory.find(connect.user))
        if isinstance(verdict, Refusal):
            self._meter.refused("connect")
            log.warning("connect_refused", user=connect.user[:64], reason=verdict.name.lower())
            writer.write(connack(verdict))
            async with asyncio.timeout(CONNECT_WITHIN_S):
                writer.close()
                await writer.wait_closed()
            return
        await self._host(Guest(verdict, connect, first, reader, writer))

    async def _host(self, guest: Guest) -> None:
        key = guest.connect.client_id or f"{guest.identity.name}#{next(self._nameless)}"
        while (former := self._guests.get(key)) is not None:
            former.close()  # the same client again: its old connection is dead, or soon is
            async with asyncio.timeout(_TAKE_OVER_WITHIN_S):
                await former.gone.wait()
        self._guests[key] = guest
        try:
            await self._broker.serve(guest)
        finally:
            del self._guests[key]
            guest.gone.set()

    def _show_out(self) -> None:
        """Close the connections of identities that were removed or changed."""
        for guest in self._guests.values():
            if self._directory.find(guest.identity.name) != guest.identity:
                log.warning("revoked", client=guest.identity.name)
                guest.close()


def admit(connect: Connect, identity: Identity | None) -> Identity | Refusal:
    """Return the proven identity, or why there is none."""
    if identity is None or not proves(identity, connect.password):
        return Refusal.CREDENTIALS
    if not owns_client_id(identity, connect.client_id):
        return Refusal.CLIENT_ID
    if not connect.client_id and not connect.clean:
        return Refusal.CLIENT_ID
    if connect.will_topic is not None and not may_publish(identity, connect.will_topic):
        return Refusal.NOT_AUTHORISED  # a will is a publish that nobody checks later
    return identity


async def _first_packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the CONNECT packet, whole, and the part after its fixed header."""
    header = await reader.readexactly(1)
    if header[0] != Kind.CONNECT << 4:
        raise MalformedPacketError("the first packet is not CONNECT")
    while (length := body_bytes(header, bytes_max=CONNECT_BYTES_MAX)) is None:
        header += await reader.readexactly(1)
    body = await reader.readexactly(length)
    return header + body, body
