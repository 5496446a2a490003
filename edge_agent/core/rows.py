"""Readings as columns: what moves through the hub between a sensor's message and a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wire.metric import METRICS


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Readings, or rows that stand for several, one per row.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``, Unix milliseconds, UTC.
        values: float32, shape ``(n, METRICS)``, NaN where nothing was measured.
        quality: int16, shape ``(n,)``, bits of ``Quality``.
        samples: int32, shape ``(n,)``, how many readings a row stands for, each >= 1.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    quality: NDArray[np.int16]
    samples: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sensor_ids)

    def take(self, which: NDArray[Any]) -> "Rows":
        """Return the rows an index or a mask picks, in its order."""
        return Rows(
            self.sensor_ids[which],
            self.observed_at_ms[which],
            self.values[which],
            self.quality[which],
            self.samples[which],
        )

    def by_sensor(self) -> "Rows":
        """Return the rows by sensor, then time: the order of a batch."""
        return self.take(np.lexsort((self.observed_at_ms, self.sensor_ids)))


NONE = Rows(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty((0, METRICS), np.float32),
    np.empty(0, np.int16),
    np.empty(0, np.int32),
)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return all rows of all parts, in their order."""
    if not parts:
        return NONE
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.sensor_ids for part in parts]),
        np.concatenate([part.observed_at_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.quality for part in parts]),
        np.concatenate([part.samples for part in parts]),
    )


def merged(rows: Rows, starts: NDArray[np.intp]) -> Rows:
    """Return one row for each group of neighbours.

    A group's row has the time of its first row, the mean of each metric over the readings that
    measured it (in float64, weighted by ``samples``; a row is taken to have measured its metrics in
    all of its samples), all quality bits of the group, and the sum of ``samples``.

    Args:
        rows: At least one, each group's own side by side.
        starts: Where each group begins; the first is 0.
    """
    weight = rows.samples[:, None] * ~np.isnan(rows.values)
    weights = np.add.reduceat(weight, starts)
    sums = np.add.reduceat(np.nan_to_num(rows.values.astype(np.float64)) * weight, starts)
    with np.errstate(invalid="ignore"):
        means = (sums / weights).astype(np.float32)
    return Rows(
        rows.sensor_ids[starts],
        rows.observed_at_ms[starts],
        means,
        np.bitwise_or.reduceat(rows.quality, starts),
        np.add.reduceat(rows.samples, starts, dtype=np.int32),
    )
