"""What detection reads of a batch: its rows as columns, and one column more for refused values."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.batch import Batch, Flag
from wire.metric import METRICS, impossible
from wire.quality import Quality

REFUSED: Final = METRICS  # the column after the metrics: 1 where a value was refused, else 0
COLUMNS: Final = METRICS + 1
SHOWN: Final = Quality.OUT_OF_BAND | Quality.SPIKE | Quality.RATE
"""Marks of readings a hub also sends one by one, at once, as evidence."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Readings to evaluate, strictly increasing by (sensor, time).

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``.
        values: float32, shape ``(COLUMNS, n)``: column after column. NaN = not measured.
        history: bool, shape ``(n,)``: never touches live state. Sent as history on purpose; or the
            mean of readings that came one by one as evidence, and no instant of their series.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    history: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sensor_ids)

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        """Return the rows that ``keep``, shape ``(n,)``, names."""
        if keep.all():
            return self
        return Rows(
            self.sensor_ids[keep],
            self.observed_at_ms[keep],
            self.values[:, keep],
            self.history[keep],
        )


def rows_of(batch: Batch) -> Rows:
    """Return a batch's rows. The verdict is by values; quality bits are hints."""
    return as_rows(
        batch.sensor_ids,
        batch.observed_at_ms,
        batch.values,
        batch.quality,
        batch.samples,
        history=Flag.BACKFILL in batch.seal.flags,
    )


def as_rows(
    sensor_ids: NDArray[np.int64],
    observed_at_ms: NDArray[np.int64],
    values: NDArray[np.float32],
    quality: NDArray[np.int16],
    samples: NDArray[np.number[Any]],
    *,
    history: bool,
) -> Rows:
    """Return readings as rows to evaluate; a row the store will refuse counts as refused only.

    Args:
        sensor_ids: Shape ``(n,)``.
        observed_at_ms: Shape ``(n,)``.
        values: Shape ``(n, METRICS)``.
        quality: Shape ``(n,)``, bits of ``Quality``.
        samples: Shape ``(n,)``: how many readings each stands for.
        history: Whether all were sent as history.
    """
    columns = np.empty((COLUMNS, len(sensor_ids)), np.float32)
    columns[:METRICS] = values.T
    bad = impossible(values).any(axis=1)
    if bad.any():
        columns[:METRICS, bad] = np.nan
    columns[REFUSED] = bad | ((quality & Quality.REFUSED_VALUE) != 0)
    aside = (samples > 1) & ((quality & SHOWN) != 0)
    return Rows(sensor_ids, observed_at_ms, columns, aside | history)
