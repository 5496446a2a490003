"""Which part of a region's log is replayed, and what time it was in each part."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wire.ids import UnixMs

SLICE_MS: Final = 600_000
SLICES_MAX: Final = 500  # each costs a question to the broker


@dataclass(frozen=True, slots=True)
class Logged:
    """One message of a log.

    Attributes:
        offset: Its place; rises, seldom by more than one.
        topic: Where it was published.
        body: The bytes.
    """

    offset: int
    topic: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Messages ``[first, end)`` of a log, sliced in time.

    The log dates no message, but finds the first one after an instant. So a message is as old as
    the end of the slice it lies in: what the store's clock may have said when it was first judged.

    Attributes:
        first: Offset of the first message.
        end: One past the last.
        marks: ``(offset, instant)``, ascending: the first message at or after that instant.
        to_ms: No message is younger.
    """

    first: int
    end: int
    marks: tuple[tuple[int, UnixMs], ...]
    to_ms: UnixMs

    def at(self, offset: int) -> UnixMs:
        """Return the end of the slice a message lies in."""
        place = bisect_right(self.marks, offset, key=lambda mark: mark[0])
        return self.marks[place][1] if place < len(self.marks) else self.to_ms


def slice_ends(from_ms: UnixMs, to_ms: UnixMs) -> Sequence[UnixMs]:
    """Return the instants that cut ``[from_ms, to_ms)`` into slices, its ends left out."""
    step_ms = max(SLICE_MS, -(-(to_ms - from_ms) // SLICES_MAX))
    return [UnixMs(at_ms) for at_ms in range(from_ms + step_ms, to_ms, step_ms)]
