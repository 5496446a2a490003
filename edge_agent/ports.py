"""What the hub's parts need from the spool and from the link to the cloud, in their own words.

The spool is synchronous and called from the one thread that owns it: through ``InTurn``.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.rows import Rows
from edge_agent.core.spooled import Spooled
from wire.control import Held
from wire.errors import HeadgateError, InfrastructureError
from wire.ids import BatchKey, Epoch, SensorId
from wire.ranges import Ranges
from wire.topics import Channel

P = ParamSpec("P")
T = TypeVar("T")


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
        """Do ``work`` there, one call after another. Work begun is finished, even if cancelled."""
        ...


class LinkLostError(InfrastructureError):
    """A connection to a broker could not be opened, or broke, or fell silent."""


class NobodyThereError(LinkLostError):
    """The broker's machine answers that no broker runs there: everybody else is out, too."""


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


class SpoolFaultError(InfrastructureError):
    """The disk failed under the spool. Nothing is taken until it is opened again and verified."""


class SpoolFullError(InfrastructureError):
    """The spool is at its cap with nothing left to thin or shed. What was offered is not in it."""


class SpoolLockedError(HeadgateError):
    """Another agent owns this data directory."""


class SpoolMismatchError(HeadgateError):
    """The data directory holds another hub's spool."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What intake knew when the agent last committed.

    Attributes:
        held: Readings in no batch yet; ``samples`` is 1.
        stamped: bool, shape ``(len(held),)``: dated by the hub's own clock.
        emitted: ``(sensor_ids, observed_at_ms)``, both int64: instants of sealed readings.
        floors: ``(sensor_ids, floor_ms)``, both int64: what lies below is forgotten.
    """

    held: Rows
    stamped: NDArray[np.bool_]
    emitted: tuple[NDArray[np.int64], NDArray[np.int64]]
    floors: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Undated:
    """Readings that wait for a trusted clock.

    Attributes:
        rows: The readings in the order they came; ``observed_at_ms`` is steady time.
        numbers: int64, shape ``(n,)``, rising: their numbers in the spool.
        boots: Text, shape ``(n,)``: which boot of the machine each one's time counts from.
        boot_ends_ms: Steady time of the last reading of each boot in the spool.
        more: Whether the spool holds further ones.
    """

    rows: Rows
    numbers: NDArray[np.int64]
    boots: NDArray[np.str_]
    boot_ends_ms: dict[str, int]
    more: bool


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One transaction of intake: all of it, or nothing.

    Attributes:
        taken: New readings, into intake.
        stamped: bool, shape ``(len(taken),)``: dated by the hub's own clock.
        undated: New readings to keep until the clock is trusted; ``observed_at_ms`` is steady time.
        boot: Which boot of the machine that steady time counts from.
        dated_through: Forget undated readings up to this number: they are among ``taken`` now.
        suspect: Mark everything in intake that the hub's clock dated.
        evidence: Rows to seal as evidence, each part a batch in a batch's order.
        routine: Rows to seal as routine, likewise.
        scores: For each part of ``routine`` float32, shape ``(len(part),)``: what a model made of
            its rows, 0..1; NaN where none judged.
        sealed: The readings in intake that ``routine`` stands for: cleared, and known as emitted.
    """

    taken: Rows
    stamped: NDArray[np.bool_]
    undated: Rows
    boot: str
    dated_through: int
    suspect: bool
    evidence: Sequence[Rows]
    routine: Sequence[Rows]
    scores: Sequence[NDArray[np.float32]]
    sealed: Rows


class IntakeStore(Protocol):
    """Readings before they are batches, on the same disk and in the same transactions."""

    @property
    def whole(self) -> bool:
        """Whether no fault has been met since it was opened, whoever met it."""
        ...

    def load(self) -> Kept:
        """Return what the last commits left."""
        ...

    def undated(self, limit: int) -> Undated:
        """Return the first readings, at most ``limit``, that still wait for a trusted clock."""
        ...

    def apply(self, change: Change, steady_ms: int) -> Sequence[BatchKey]:
        """Make one change durable and return the keys of the batches sealed in it.

        Raises:
            SpoolFullError: No room, and none to be made. Nothing changed.
            SpoolFaultError: The disk failed; whether the change is durable is unknown until the
                spool has been opened again.
        """
        ...

    def forget(self, sensor_ids: NDArray[np.int64], floor_ms: NDArray[np.int64]) -> None:
        """Let go of emitted instants below their sensor's floor, and remember the floors."""
        ...

    def reopen(self) -> None:
        """Close, open and verify the spool after a fault, under a new epoch.

        Raises:
            SpoolFaultError: The disk is still not well.
        """
        ...
