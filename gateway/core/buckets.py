"""A token bucket per sensor on arrival time: a message is let in whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.limits import READINGS_PER_SENSOR_MESSAGE_MAX, SENSOR_BURST, SENSOR_RATE_PER_S
from wire.token_bucket import EMPTY_AT_MS

COST_MS: Final = round(1_000 / SENSOR_RATE_PER_S)
SLACK_MS: Final = (SENSOR_BURST - 1) * COST_MS
LATE_AFTER_MS: Final = 10_000
LATE_BURST: Final = 3_600
LATE_SLACK_MS: Final = (LATE_BURST - 1) * COST_MS
"""What a sensor said while nobody took it comes at once: an hour of it at its rate is let in."""

assert READINGS_PER_SENSOR_MESSAGE_MAX <= LATE_BURST
BUCKETS_MAX: Final = 262_144
CROWDED_MS: Final = COST_MS


@dataclass(slots=True)
class LocalBuckets:
    """The buckets of one door, as ``wire.token_bucket`` has them; full ones are forgotten.

    Attributes:
        most: How many sensors may be between empty and full at once; further ones must wait.
        slack_ms: How long a full bucket lasts beyond one token.
    """

    most: int = BUCKETS_MAX
    slack_ms: int = SLACK_MS
    _due_ms: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._due_ms)

    def take(self, messages: Sequence[NDArray[np.int64]], at_ms: int) -> list[int]:
        """Spend a token for each reading of every message that finds all of its tokens.

        Args:
            messages: The sensor of each reading, message by message; int64, shape ``(n,)``.
            at_ms: When they arrived.

        Returns:
            For each message 0 if it is let in, else how many ms to wait; then nothing was spent.
        """
        return [self._take(sensor_ids, at_ms) for sensor_ids in messages]

    def _take(self, sensor_ids: NDArray[np.int64], at_ms: int) -> int:
        sensors, counts = np.unique(sensor_ids, return_counts=True)
        names = sensors.tolist()
        due = np.array([self._due_ms.get(name, EMPTY_AT_MS) for name in names], np.int64)
        begins = np.maximum(due, at_ms)
        wait = int((begins + (counts - 1) * COST_MS - self.slack_ms - at_ms).max())
        if wait > 0:
            return wait
        if len(self._due_ms) + len(names) > self.most:
            self._forget_full(at_ms)
            if len(self._due_ms) + len(names) > self.most:
                return CROWDED_MS
        self._due_ms.update(zip(names, (begins + counts * COST_MS).tolist(), strict=True))
        return 0

    def _forget_full(self, at_ms: int) -> None:
        self._due_ms = {name: due for name, due in self._due_ms.items() if due > at_ms}
