"""What is in intake, as columns, and which of it is ripe to be sealed."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.instants import Pairs, paired
from edge_agent.core.rows import NONE, Rows, joined, merged
from wire.quality import Quality

ALLOWANCE_MS: Final = 2_000
"""How long after its end a window still waits for readings that come out of order."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Readings in intake, in the order they came.

    Attributes:
        rows: The readings; ``samples`` is 1.
        places: Shape ``(n,)``: their sensors' places in the register.
        arrived_ms: int64, shape ``(n,)``, steady: when they were committed, or the agent's start.
        stamped: bool, shape ``(n,)``: dated by the hub's own clock.
    """

    rows: Rows
    places: NDArray[np.intp]
    arrived_ms: NDArray[np.int64]
    stamped: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.rows)

    def pairs(self) -> Pairs:
        """Return each reading's sensor and time, shape ``(n,)``."""
        return paired(self.places, self.rows.observed_at_ms)

    def take(self, which: NDArray[np.bool_]) -> "Held":
        """Return the readings a mask picks."""
        return Held(
            self.rows.take(which), self.places[which], self.arrived_ms[which], self.stamped[which]
        )


NOTHING: Final = Held(NONE, np.empty(0, np.intp), np.empty(0, np.int64), np.empty(0, np.bool_))


def together(parts: list[Held]) -> Held:
    """Return all readings of all parts."""
    if len(parts) < 2:
        return parts[0] if parts else NOTHING
    return Held(
        joined([part.rows for part in parts]),
        np.concatenate([part.places for part in parts]),
        np.concatenate([part.arrived_ms for part in parts]),
        np.concatenate([part.stamped for part in parts]),
    )


def ripe(
    held: Held, latest_ms: NDArray[np.int64], steady_ms: int, window_ms: int
) -> NDArray[np.bool_]:
    """Return which readings may be sealed now, shape ``(n,)``.

    Late readings and those of a hub without windows: at once. A window's readings, all together:
    once its sensor speaks of a time ``ALLOWANCE_MS`` past the window's end, or once the window's
    length and ``ALLOWANCE_MS`` have gone by since its first reading came, should the sensor fall
    silent.

    Args:
        held: What is in intake.
        latest_ms: int64, by place: the observed time of the reading each sensor sent last.
        steady_ms: Now.
        window_ms: Length of a window, aligned to observed time; 0 = none.
    """
    if not window_ms:
        return np.ones(len(held), np.bool_)
    at_ms = held.rows.observed_at_ms
    start = at_ms - at_ms % window_ms
    passed = latest_ms[held.places] >= start + window_ms + ALLOWANCE_MS
    waited = held.arrived_ms <= steady_ms - window_ms - ALLOWANCE_MS
    _, window = np.unique(paired(held.places, start), return_inverse=True)
    over = np.bincount(window, weights=passed | waited)[window] > 0
    alone = (held.rows.quality & Quality.LATE) != 0
    # The late come after their window's emission: they wait for nobody, nobody waits for them.
    return np.where(alone, True, over)


def emitted(held: Held, window_ms: int) -> Rows:
    """Return the rows that stand for these readings, oldest first.

    One row a window, with the time of its first reading, so that it can collide with no other
    reading; one row each for late readings and without windows.
    """
    if not window_ms:
        return _by_time(held.rows)
    alone = (held.rows.quality & Quality.LATE) != 0
    inside = held.rows.take(~alone).by_sensor()
    if not len(inside):
        return _by_time(held.rows)
    window = inside.observed_at_ms // window_ms
    new = (np.diff(window) != 0) | (np.diff(inside.sensor_ids) != 0)
    starts = np.flatnonzero(np.concatenate([np.ones(1, np.bool_), new]))
    return _by_time(joined([merged(inside, starts), held.rows.take(alone)]))


def batched(rows: Rows, size: int) -> list[Rows]:
    """Return rows, given oldest first, in batches of at most ``size``, each in a batch's order."""
    return [
        rows.take(np.arange(low, min(low + size, len(rows)))).by_sensor()
        for low in range(0, len(rows), size)
    ]


def _by_time(rows: Rows) -> Rows:
    return rows.take(np.argsort(rows.observed_at_ms, kind="stable"))
