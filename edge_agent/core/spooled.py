"""A sealed batch as it stands in line."""

from dataclasses import dataclass
from enum import IntEnum

from wire.ids import BatchKey


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
