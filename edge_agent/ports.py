"""What the hub's two halves need from the spool, in their own words.

Everything here is synchronous and called from the one thread that owns the spool.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from wire.control import Held
from wire.ids import BatchKey, Epoch
from wire.ranges import Ranges


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
