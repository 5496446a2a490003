"""What the door needs: who is who, a broker to hand guests to, somebody who counts."""

import asyncio
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.core.connect import Connect
from gateway.core.identity import Identity

Action = Literal["connect", "packet", "publish", "subscribe"]


@dataclass(frozen=True, slots=True, eq=False)
class Guest:
    """An admitted connection.

    Attributes:
        identity: Who it is, proven.
        connect: What it asked for.
        first: The CONNECT packet, whole.
        reader: What follows it.
        writer: The way back.
        gone: Set when the broker has let go of it.
    """

    identity: Identity
    connect: Connect
    first: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """Cut the connection, unsent bytes included: a peer that does not read cannot stop us."""
        self.writer.transport.abort()


class Directory(Protocol):
    """The enrolled identities, always as they are now."""

    def find(self, name: str) -> Identity | None:
        """Return the identity of that name, None if nobody has it."""
        ...


class Broker(Protocol):
    """Carries messages between guests."""

    async def serve(self, guest: Guest) -> None:
        """Return when the guest has left."""
        ...


class Meter(Protocol):
    """Counts what operators ask about."""

    def connections(self, count: int) -> None:
        """Take how many connections are open."""
        ...

    def refused(self, action: Action) -> None:
        """Count something a client may not do."""
        ...

    def routed(self, copies: int) -> None:
        """Count a message and the subscribers it went to."""
        ...

    def dropped(self, client_id: str, messages: int) -> None:
        """Count messages a full mailbox had no room for."""
        ...
