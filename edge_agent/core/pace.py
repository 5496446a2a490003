"""How long a connection must pause so that it brings no more readings a second than it may."""

from dataclasses import dataclass
from typing import Final

ARRIVALS_PER_S_MAX: Final = 1_000
BURST_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The generic cell rate algorithm for one connection.

    Attributes:
        per_s: Readings a second it may bring, after a burst of one second's worth.
        paid_ms: Until when it has used up its share. Steady time.
    """

    per_s: int = ARRIVALS_PER_S_MAX
    paid_ms: float = 0.0

    def after(self, readings: int, now_ms: int) -> "Pace":
        """Return the pace once ``readings`` more have come."""
        return Pace(self.per_s, max(self.paid_ms, now_ms) + readings * 1_000 / self.per_s)

    def pause_ms(self, now_ms: int) -> int:
        """Return how long to read nothing from the connection; 0 or less is not at all."""
        return round(self.paid_ms) - BURST_MS - now_ms
