"""How long to wait before trying again: full jitter, doubling, bounded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A policy.

    Attributes:
        first_ms: Longest wait before the second try.
        wait_ms_max: Longest wait of all.
        tries_max: After so many tries, give up; None: never.
    """

    first_ms: int = 100
    wait_ms_max: int = 5_000
    tries_max: int | None = None

    def wait_ms(self, tries: int, chance: float) -> int | None:
        """Return how long to wait after ``tries`` failures in a row; None: give up.

        Args:
            tries: At least 1.
            chance: Uniform in [0, 1).
        """
        if self.tries_max is not None and tries >= self.tries_max:
            return None
        longest = min(self.wait_ms_max, self.first_ms * 2 ** min(tries - 1, 20))
        return int(longest * chance) + 1
