"""Dates for readings that came without: from the hub's clock, now or once it is trusted."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.instants import Pairs, paired

_TRIES: Final = 64
"""A token bucket lets two readings a second through: so many in one millisecond there are not."""


def apart(
    places: NDArray[np.intp], at_ms: NDArray[np.int64], known: Callable[[Pairs], NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """Return times of the hub's own making, moved on until no sensor has one twice.

    A sensor that gives no time may send two readings within a millisecond; neither is a duplicate.

    Args:
        places: Shape ``(n,)``.
        at_ms: int64, shape ``(n,)``.
        known: Returns which instants are taken already.
    """
    at_ms = at_ms.copy()
    for _ in range(_TRIES):
        pairs = paired(places, at_ms)
        order = np.argsort(pairs, kind="stable")
        taken = known(pairs)
        taken[order[1:]] |= pairs[order[1:]] == pairs[order[:-1]]
        if not taken.any():
            break
        at_ms[taken] += 1
    return at_ms


def dated(
    steady_ms: NDArray[np.int64],
    boots: NDArray[np.str_],
    boot_ends_ms: dict[str, int],
    boot: str,
    offset_ms: int,
) -> NDArray[np.int64]:
    """Return when readings were observed, now that the clock is trusted.

    Steady time of this boot of the machine converts exactly. An earlier boot is placed as late as
    it can have been, ending where this one began: such dates are suspect.

    Args:
        steady_ms: int64, shape ``(n,)``: when the readings came.
        boots: Text, shape ``(n,)``: the boot that time counts from.
        boot_ends_ms: Steady time of each boot's last reading.
        boot: The present boot.
        offset_ms: UTC minus steady time in it.
    """
    ends = np.array([0 if name == boot else boot_ends_ms[name] for name in boots.tolist()])
    return np.maximum(steady_ms + offset_ms - ends.astype(np.int64), 0)


def whole_windows(at_ms: NDArray[np.int64], more: bool, window_ms: int) -> int:
    """Return how many of the first readings to date together, so that no window is cut in two.

    Args:
        at_ms: int64, shape ``(n,)``: their times.
        more: Whether further readings follow these.
        window_ms: Length of a window; 0 = none.
    """
    if not more or not window_ms:
        return len(at_ms)
    open_window = at_ms[-1] - at_ms[-1] % window_ms
    cut = int(np.argmax(at_ms >= open_window))
    return cut or len(at_ms)
