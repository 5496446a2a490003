"""Which instants of which sensors are already known: a set of (sensor, time), small and fast.

A pair is one int64: the sensor's place in the hub's register above, the time below. 720,000 of them
(200 sensors, an hour, one a second) are 6 MB; a set of Python's own would be 70.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.limits import TIME_MS_MAX

TIME_BITS: Final = 48
PLACES_MAX: Final = 2 ** (63 - TIME_BITS)
_YOUNG_MAX: Final = 16_384

Pairs = NDArray[np.int64]

assert TIME_MS_MAX < 2**TIME_BITS


def paired(places: NDArray[np.intp], at_ms: NDArray[np.int64]) -> Pairs:
    """Return sensors' places and times as pairs, int64, shape ``(n,)``; they sort alike."""
    times = np.minimum(np.maximum(at_ms, 0), 2**TIME_BITS - 1)  # np.clip takes thrice as long
    pairs: Pairs = (places.astype(np.int64) << TIME_BITS) | times
    return pairs


def places_of(pairs: Pairs) -> NDArray[np.intp]:
    """Return the sensors' places, shape ``(n,)``."""
    return (pairs >> TIME_BITS).astype(np.intp)


def times_of(pairs: Pairs) -> NDArray[np.int64]:
    """Return the times, shape ``(n,)``."""
    times: NDArray[np.int64] = pairs & (2**TIME_BITS - 1)
    return times


class Instants:
    """A set of pairs. What came lately lies apart, so that adding does not copy the whole."""

    def __init__(self, pairs: Pairs) -> None:
        self._old: Pairs = np.unique(pairs)
        self._young: Pairs = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self._old) + len(self._young)

    def add(self, pairs: Pairs) -> None:
        """Add pairs that are not in it yet."""
        self._young = np.union1d(self._young, pairs)
        if len(self._young) > _YOUNG_MAX:
            self._old = np.union1d(self._old, self._young)
            self._young = np.empty(0, np.int64)

    def keep(self, pairs: Pairs) -> None:
        """Become the set of exactly these."""
        self._old, self._young = np.unique(pairs), np.empty(0, np.int64)

    def all(self) -> Pairs:
        """Return every pair, sorted."""
        return np.union1d(self._old, self._young)

    def has(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Return which of ``pairs`` are in it, shape ``(n,)``."""
        return self.between(pairs, pairs + 1) > 0

    def between(self, low: Pairs, high: Pairs) -> NDArray[np.intp]:
        """Return how many pairs lie in each ``[low, high)``, shape ``(n,)``."""
        return _between(self._old, low, high) + _between(self._young, low, high)

    def last_below(self, pairs: Pairs) -> Pairs:
        """Return the greatest pair below each of ``pairs``; -1 where there is none."""
        return np.maximum(_last_below(self._old, pairs), _last_below(self._young, pairs))


def _between(known: Pairs, low: Pairs, high: Pairs) -> NDArray[np.intp]:
    return np.searchsorted(known, high) - np.searchsorted(known, low)


def _last_below(known: Pairs, pairs: Pairs) -> Pairs:
    at = np.searchsorted(known, pairs)
    found: Pairs = np.append(np.int64(-1), known)[at]
    return found
