"""What the hub's parts need from the spool and from the link to the cloud, in their own words.

The spool is synchronous and called from the one thread that owns it: through ``InTurn``.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import ParamSpec, Protocol, TypeVar

from wire.control import Held
from wire.errors import InfrastructureError
from wire.ids import BatchKey, Epoch, SensorId
from wire.ranges import Ranges
from wire.topics import Channel

P = ParamSpec("P")
T = TypeVar("T")


class Urgency(IntEnum):
    """Which of the waiting batches goes first. Lower is sooner."""

    URGENT = 0  # evidence, oldest first
    LIVE = 1  # sealed lately, newest first
    BACKLOG = 2  # everything else, oldest first


@dataclass(frozen=True, slots=True)
class Spooled:
    """A sealed batch in the spool, without its bytes.

    Attributes:
        key: Its identity, for ever.
        urgency: Where it stands in line now.
        size: Bytes on the wire.
    """

    key: BatchKey
    urgency: Urgency
    size: int


class BatchStore(Protocol):
    """Sealed batches that no receipt covers yet."""

    @property
    def epoch(self) -> Epoch:
        """This life of the agent: drawn at its start, written before its first batch."""
        ...

    def waiting(self, limit: int, besides: Collection[BatchKey]) -> Sequence[Spooled]:
        """Return up to ``limit`` batches in the order they should be sent, ``besides`` left out."""
        ...

    def body(self, key: BatchKey) -> bytes | None:
        """Return the sealed bytes, or None if they are settled or no longer whole.

        Bytes that fail their own checksum are replaced by a tombstone in the same call.
        """
        ...

    def held(self) -> tuple[Held, ...]:
        """Return, per epoch, what waits for a receipt: the present epoch first, then the oldest."""
        ...

    def settle(self, epoch: Epoch, received: Ranges, refused: Ranges) -> int:
        """Forget what a receipt covers, refused batches into quarantine; return how many.

        One transaction, idempotent: the same receipt again forgets nothing more.
        """
        ...


class InTurn(Protocol):
    """The one thread that owns the spool, as seen from the event loop."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do ``work`` there, one call after another. A cancelled wait does not stop the work."""
        ...


class LinkLostError(InfrastructureError):
    """A connection to a broker could not be opened, or broke, or fell silent."""


class Link(Protocol):
    """One connection to the cloud's broker, good until it raises."""

    async def publish(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """Return once the next hop took the message, which promises nothing beyond that.

        Many may be under way at once.

        Raises:
            LinkLostError: It did not, within the link's deadline.
        """
        ...

    def incoming(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """Yield what the cloud says, until cancelled.

        Raises:
            LinkLostError: The link broke.
        """
        ...


class Uplink(Protocol):
    """The way to the cloud's broker."""

    def open(self, will: bytes) -> AbstractAsyncContextManager[Link]:
        """Connect, listen on the hub's own receipt channel, and say goodbye at the end.

        Args:
            will: What the broker tells others, retained on the status channel, if the link breaks.

        Raises:
            LinkLostError: On entry, within the deadline, if that cannot be.
        """
        ...


class Accept(Protocol):
    """Where a sensor's message goes."""

    async def __call__(self, topic: str, body: bytes) -> int:
        """Take a message once there is room for it; return how many readings it counts as, >= 1.

        Taken is not committed: only the status a sensor hears later says that.
        """
        ...


class SensorSide(Protocol):
    """The local broker the sensors speak to: embedded, or any other."""

    async def run(self, accept: Accept) -> None:
        """Hand every ``sensors/+/data`` message to ``accept``, until cancelled.

        Raises:
            LinkLostError: The sensors cannot be served here at all.
        """
        ...

    async def tell(self, statuses: Iterable[tuple[SensorId, bytes]]) -> None:
        """Send each sensor its status, if it listens. A status lost is made good by the next."""
        ...
