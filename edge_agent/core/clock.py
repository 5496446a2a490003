"""What time it is, for a hub that may not know, and what was dated while it was wrong."""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

STEP_MS: Final = 2_000
"""The clock was wrong if it is found to be off by more than this."""
SUSPECT_MS: Final = 600_000
"""How long after a step the hub's own dates stay suspect, unless the cloud's time confirms them."""


class Now(NamedTuple):
    """One look at both of the machine's clocks.

    Attributes:
        wall_ms: Unix milliseconds, UTC; 1970 on a machine that has no idea.
        steady_ms: Milliseconds that never go back, counted since the machine's boot.
    """

    wall_ms: int
    steady_ms: int


@dataclass(frozen=True, slots=True)
class HubClock:
    """The hub's idea of UTC.

    Attributes:
        wall_trusted: Whether the machine's wall clock is kept right (RTC or NTP).
        offset_ms: UTC minus steady time; None until somebody trustworthy said what time it is.
        suspect_until_ms: Steady time up to which dates given by this clock are suspect.
        step_seen: Whether the last ``look`` or ``hear`` found the clock to have been wrong.
    """

    wall_trusted: bool
    offset_ms: int | None = None
    suspect_until_ms: int = -1
    step_seen: bool = False

    def now_ms(self, now: Now) -> int | None:
        """Return UTC, or None while it is unknown."""
        return None if self.offset_ms is None else now.steady_ms + self.offset_ms

    def suspect(self, now: Now) -> bool:
        """Return whether a date given now is to be marked."""
        return now.steady_ms < self.suspect_until_ms

    def look(self, now: Now) -> "HubClock":
        """Follow the machine's wall clock, if it is trusted; notice its steps."""
        if not self.wall_trusted:
            return replace(self, step_seen=False)
        return self._at(now.wall_ms - now.steady_ms, now)

    def hear(self, cloud_ms: int, now: Now) -> "HubClock":
        """Learn the cloud's time.

        A message takes time, so the true time is never earlier than what it says: an untrusted
        clock follows the greatest offset heard, a trusted one is suspect if the cloud is ahead.
        """
        heard = cloud_ms - now.steady_ms
        if self.offset_ms is None:
            return replace(self, offset_ms=heard, step_seen=False)
        if heard - self.offset_ms > STEP_MS:
            offset_ms = self.offset_ms if self.wall_trusted else heard
            return replace(self._stepped(now), offset_ms=offset_ms)
        confirmed = abs(heard - self.offset_ms) <= STEP_MS
        until = min(self.suspect_until_ms, now.steady_ms) if confirmed else self.suspect_until_ms
        offset_ms = self.offset_ms if self.wall_trusted else max(self.offset_ms, heard)
        return replace(self, offset_ms=offset_ms, suspect_until_ms=until, step_seen=False)

    def _at(self, offset_ms: int, now: Now) -> "HubClock":
        stepped = self.offset_ms is not None and abs(offset_ms - self.offset_ms) > STEP_MS
        clock = self._stepped(now) if stepped else replace(self, step_seen=False)
        return replace(clock, offset_ms=offset_ms)

    def _stepped(self, now: Now) -> "HubClock":
        return replace(self, suspect_until_ms=now.steady_ms + SUSPECT_MS, step_seen=True)
