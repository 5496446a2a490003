"""What the doors need: who is who, a broker, a way to the store, somebody who counts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from gateway.core.connect import Connect
from gateway.core.identity import Identity
from wire.errors import InfrastructureError
from wire.ids import SensorId
from wire.topics import Channel

if TYPE_CHECKING:  # the broker starts without it
    import numpy as np
    from numpy.typing import NDArray

    from wire.reading import SensorMessage

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


class LinkLostError(InfrastructureError):
    """The way to the store is not there just now."""


class Link(Protocol):
    """An open way to the store. Every method may raise LinkLostError."""

    async def send(self, body: bytes) -> bool:
        """Hand over a batch; return whether it is safe with that, else only a receipt says so."""
        ...

    async def say(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """Publish on one of our own channels."""
        ...

    def receipts(self) -> AsyncIterator[bytes]:
        """Yield receipts as they come, other doors' included, until cancelled."""
        ...


class Uplink(Protocol):
    """The way to the store, opened again and again."""

    def open(self, will: bytes) -> AbstractAsyncContextManager[Link]:
        """Lend a link; ``will`` is our status when it breaks.

        Raises:
            LinkLostError: On entry, or from what is done inside.
        """
        ...


class Buckets(Protocol):
    """A token bucket per sensor that every door sees."""

    async def take(self, messages: "Sequence[NDArray[np.int64]]") -> list[int]:
        """As ``core.buckets.LocalBuckets.take``, on a clock of its own.

        Raises:
            InfrastructureError: Nobody can say; nothing was decided for our part.
        """
        ...


class Said(Protocol):
    """A sensor's message, lent until acknowledged."""

    @property
    def topic(self) -> str:
        """Where it was published; the broker has checked who may."""
        ...

    @property
    def body(self) -> bytes:
        """The bytes."""
        ...

    @property
    def lent_before(self) -> int:
        """How often whoever had it went away without a word."""
        ...

    async def ack(self) -> None:
        """Let the broker forget it.

        Raises:
            LinkLostError: It comes again.
        """
        ...


class SensorLink(Protocol):
    """An open way to sensors. Every method may raise LinkLostError."""

    def messages(self) -> AsyncIterator[Said]:
        """Yield what sensors say, until cancelled; no more than a bound unacknowledged."""
        ...

    def suspects(self) -> AsyncIterator[Said]:
        """Yield what was lent to doors that died, one at a time."""
        ...

    async def tell(self, sensor_id: SensorId, body: bytes) -> None:
        """Publish a sensor's status; nobody need be listening."""
        ...


class SensorInbox(Protocol):
    """Where sensors without a hub publish, opened again and again."""

    def open_sensors(self) -> AbstractAsyncContextManager[SensorLink]:
        """Lend a link.

        Raises:
            LinkLostError: On entry, or from what is done inside.
        """
        ...


class DoorMeter(Protocol):
    """Counts what passes a door for sensors."""

    def answered(self, answer: str) -> None:
        """Count a message by what became of it."""
        ...

    def admitted(self, message: "SensorMessage") -> None:
        """Count readings taken, impossible values in them made absent, fields nobody knows."""
        ...

    def alone(self, messages: int) -> None:
        """Count messages judged by this door's buckets alone."""
        ...

    def held(self, batches: int, size: int) -> None:
        """Take how many batches wait for a receipt, and their bytes."""
        ...
