"""Readings as the sensors make them: one row each, columns as in ``Metric``."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.metric import METRICS

NO_EVENT: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Some readings, in the order their sensors made them.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``, sensor clock, Unix milliseconds, UTC.
        values: float64, shape ``(n, METRICS)``, exactly as sent; NaN = not measured. May be
            physically impossible: broken probes say such things.
        hub: int16, shape ``(n,)``, index of the hub the sensor speaks to.
        kept: bool, shape ``(n,)``, whether the sensor keeps the reading until it is committed.
        label: int32, shape ``(n,)``, number of the event that touched it, or ``NO_EVENT``.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    hub: NDArray[np.int16]
    kept: NDArray[np.bool_]
    label: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.sensor_ids)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Readings":
        """Return the readings a mask or an array of positions picks, in its order."""
        return Readings(*(getattr(self, name)[rows] for name in _NAMES))


_NAMES: Final = tuple(field.name for field in fields(Readings))


def readings(
    sensor_ids: NDArray[np.int64], observed_at_ms: NDArray[np.int64], values: NDArray[np.float64]
) -> Readings:
    """Return readings of hub 0 that are kept and bear no label."""
    n = len(sensor_ids)
    return Readings(
        sensor_ids,
        observed_at_ms,
        values,
        hub=np.zeros(n, np.int16),
        kept=np.ones(n, bool),
        label=np.full(n, NO_EVENT, np.int32),
    )


def joined(parts: list[Readings]) -> Readings:
    """Return all parts after one another."""
    if not parts:
        return readings(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, METRICS)))
    return Readings(*(np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES))
