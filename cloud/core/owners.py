"""Which hub speaks for which sensor, as far as we have heard: one search per flush, no loop."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wire.ids import HubId


@dataclass(slots=True, eq=False)
class Owners:
    """Sensors and their hubs.

    Attributes:
        sensor_ids: int64, sorted, unique.
        hubs: int32, same length: index into ``names``.
        names: Every hub heard of, to its index.
    """

    sensor_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    hubs: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    names: dict[HubId, int] = field(default_factory=dict)

    def index(self, hub_id: HubId) -> int:
        """Return the hub's index, a new one if it has none."""
        return self.names.setdefault(hub_id, len(self.names))

    def owner(self, sensor_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the index of each sensor's hub, -1 where we have not heard; shape ``(n,)``."""
        if not len(self.sensor_ids):
            return np.full(len(sensor_ids), -1, np.int32)
        at = np.searchsorted(self.sensor_ids, sensor_ids)
        at[at == len(self.sensor_ids)] = 0
        return np.where(self.sensor_ids[at] == sensor_ids, self.hubs[at], np.int32(-1))

    def learn(self, sensor_ids: NDArray[np.int64], hubs: NDArray[np.int32]) -> None:
        """Remember owners; what is said later wins.

        Args:
            sensor_ids: Unique, any order.
            hubs: Same length, indices into ``names``.
        """
        known = ~np.isin(self.sensor_ids, sensor_ids)
        merged = np.concatenate([self.sensor_ids[known], sensor_ids])
        order = np.argsort(merged, kind="stable")
        self.hubs = np.concatenate([self.hubs[known], hubs])[order]
        self.sensor_ids = merged[order]


def claims(
    sensor_ids: NDArray[np.int64], hubs: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return each sensor once with the first hub that names it.

    Args:
        sensor_ids: int64, shape ``(n,)``, sorted.
        hubs: int32, shape ``(n,)``, who sent the row.
    """
    first = np.ones(len(sensor_ids), np.bool_)
    first[1:] = sensor_ids[1:] != sensor_ids[:-1]
    return sensor_ids[first], hubs[first]
