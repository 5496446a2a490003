"""Who measures next: the intended instants of many sensors, never moved by how the world goes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.noise import uniform

_PHASE_CHANNEL = 6_000


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Observed time as a straight line over wall time.

    Attributes:
        wall_start_ms: Where the line begins on the wall.
        observed_start_ms: What the sensors' clocks show then.
        speed: Observed seconds in a wall second.
    """

    wall_start_ms: int
    observed_start_ms: int
    speed: float

    def observed_ms(self, wall_ms: int) -> int:
        """Return what the sensors' clocks show at a wall time."""
        return self.observed_start_ms + int((wall_ms - self.wall_start_ms) * self.speed)

    def wait_ms(self, observed_ms: int, wall_ms: int) -> int:
        """Return how long the wall must wait for an observed instant; 0 if it has come."""
        ahead = observed_ms - self.observed_ms(wall_ms)
        return max(0, int(np.ceil(ahead / self.speed)))


class Pace:
    """The grid on which each sensor measures: its own phase, then every period."""

    def __init__(
        self, sensor_ids: NDArray[np.int64], start_ms: int, end_ms: int, period_ms: int, seed: int
    ) -> None:
        """Spread the sensors' phases over the first period.

        Args:
            sensor_ids: int64, shape ``(n,)``, distinct.
            start_ms: Observed time of the earliest possible reading.
            end_ms: Observed time before which the last reading lies.
            period_ms: Between two readings of one sensor.
            seed: Of the run.
        """
        self._ids = sensor_ids
        phase = (uniform(seed, sensor_ids, _PHASE_CHANNEL) * period_ms).astype(np.int64)
        self._next_ms = start_ms + phase
        self._end_ms = end_ms
        self._period_ms = period_ms

    @property
    def finished(self) -> bool:
        """Whether every sensor made its last reading."""
        return bool((self._next_ms >= self._end_ms).all())

    @property
    def next_ms(self) -> int:
        """Observed time of the next reading of any sensor."""
        return int(self._next_ms.min())

    def due(self, observed_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return and strike off the readings whose instants have come, in order of time.

        Args:
            observed_ms: What the sensors' clocks show.

        Returns:
            Positions of the sensors, int64, and the instants, int64, shape ``(m,)``.
        """
        limit = min(observed_ms + 1, self._end_ms)
        times = np.maximum(0, -((self._next_ms - limit) // self._period_ms))
        position = np.repeat(np.arange(len(self._ids)), times)
        nth = np.arange(len(position)) - np.repeat(np.cumsum(times) - times, times)
        at_ms = self._next_ms[position] + nth * self._period_ms
        self._next_ms += times * self._period_ms
        order = np.argsort(at_ms, kind="stable")
        return position[order], at_ms[order]
