"""The sensors a hub has heard, each with a small number of its own: its place in every array."""

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.instants import PLACES_MAX

SENSORS_PER_HUB_MAX: Final = 10_000
NOWHERE: Final = -1

assert SENSORS_PER_HUB_MAX <= PLACES_MAX

_S = TypeVar("_S", bound=np.generic)


class Register:
    """Places are given in the order sensors are first heard, and never taken back."""

    def __init__(self) -> None:
        self._ids: NDArray[np.int64] = np.empty(0, np.int64)
        self._places: NDArray[np.intp] = np.empty(0, np.intp)

    def __len__(self) -> int:
        """Return how many sensors have a place."""
        return len(self._ids)

    def enter(self, sensor_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return each sensor's place, shape ``(n,)``; ``NOWHERE`` where the register is full."""
        places = self.find(sensor_ids)
        strangers = places < 0
        if not strangers.any():
            return places
        new = np.unique(sensor_ids[strangers])[: SENSORS_PER_HUB_MAX - len(self)]
        at = np.searchsorted(self._ids, new)
        given = len(self) + np.arange(len(new), dtype=np.intp)
        self._ids = np.insert(self._ids, at, new)
        self._places = np.insert(self._places, at, given)
        return self.find(sensor_ids)

    def find(self, sensor_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return each sensor's place, shape ``(n,)``; ``NOWHERE`` for those never heard."""
        if not len(self):
            return np.full(len(sensor_ids), NOWHERE, np.intp)
        at = np.minimum(np.searchsorted(self._ids, sensor_ids), len(self) - 1)
        return np.where(self._ids[at] == sensor_ids, self._places[at], NOWHERE)

    def ids(self) -> NDArray[np.int64]:
        """Return the sensor in each place, int64, shape ``(len,)``."""
        by_place = np.empty(len(self), np.int64)
        by_place[self._places] = self._ids
        return by_place


def grown(column: NDArray[_S], size: int, fill: Any) -> NDArray[_S]:
    """Return ``column`` with at least ``size`` rows, new ones holding ``fill``."""
    missing = size - len(column)
    if missing <= 0:
        return column
    room = max(missing, len(column))
    return np.concatenate([column, np.full((room, *column.shape[1:]), fill, column.dtype)])
