"""Readings as columns: what moves through a door between a sensor's message and a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wire.batch import Batch, Seal
from wire.codec import quantise
from wire.ids import UnixMs
from wire.limits import FUTURE_MS_MAX, READINGS_PER_BATCH_MAX, SENSOR_BURST
from wire.metric import equal
from wire.quality import Quality
from wire.reading import NO_TIME, SensorMessage


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Readings that all have a time, one per row.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``, Unix milliseconds, UTC.
        values: float32, shape ``(n, METRICS)``, whole steps of resolution; NaN: not measured.
        quality: int16, shape ``(n,)``, bits of ``Quality``.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    quality: NDArray[np.int16]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sensor_ids)

    def take(self, which: NDArray[Any] | slice) -> "Readings":
        """Return the rows an index, a mask or a slice picks, in its order."""
        return Readings(
            self.sensor_ids[which],
            self.observed_at_ms[which],
            self.values[which],
            self.quality[which],
        )


def fault(message: SensorMessage, arrived_ms: UnixMs, burst: int = SENSOR_BURST) -> str | None:
    """Return why no store would take a message, however often it came; None if it would.

    Args:
        message: As parsed.
        arrived_ms: Now.
        burst: How many readings of one sensor may be in it.
    """
    if int(turns(message.sensor_ids).max()) >= burst:
        return f"more than {burst} readings of one sensor in a message"
    if int(message.observed_at_ms.max()) > arrived_ms + FUTURE_MS_MAX:
        return "a time is more than a day ahead"
    if bool(np.isnan(message.values).all(axis=1).any()):
        return "a reading measures nothing that nature allows"
    return None


def stamped(message: SensorMessage, arrived_ms: UnixMs) -> Readings:
    """Return a message's readings; one without a time of its own was observed when it arrived.

    Several such of one sensor in one message take the milliseconds that follow, in their order.
    """
    timeless = message.observed_at_ms == NO_TIME
    observed = np.where(timeless, arrived_ms, message.observed_at_ms)
    observed[timeless] += turns(message.sensor_ids[timeless])
    marks = np.where(message.refused_values > 0, Quality.REFUSED_VALUE, Quality.GOOD)
    return Readings(message.sensor_ids, observed, quantise(message.values), marks.astype(np.int16))


def batches(parts: Sequence[Readings]) -> list[Readings]:
    """Return the rows of all parts as batches may hold them.

    Sorted by sensor and time, each instant once, at most ``READINGS_PER_BATCH_MAX``. What says the
    same of an instant as the first to come is left out; what says something else goes into a batch
    of its own, for the store to judge.
    """
    rows = _joined(parts)
    rows = rows.take(np.lexsort((rows.observed_at_ms, rows.sensor_ids)))
    again = np.zeros(len(rows), np.bool_)
    again[1:] = (np.diff(rows.sensor_ids) == 0) & (np.diff(rows.observed_at_ms) == 0)
    firsts = np.flatnonzero(~again)
    turn = np.arange(len(rows)) - np.repeat(firsts, np.diff(firsts, append=len(rows)))
    told = again & equal(rows.values, rows.values[np.arange(len(rows)) - turn]).all(axis=1)
    found = []
    for number in range(int(turn.max(initial=0)) + 1):
        alike = rows.take((turn == number) & ~told)
        for start in range(0, len(alike), READINGS_PER_BATCH_MAX):
            found.append(alike.take(slice(start, start + READINGS_PER_BATCH_MAX)))
    return found


def as_batch(seal: Seal, rows: Readings) -> Batch:
    """Return rows of ``batches`` under a key: single readings that no model has judged."""
    return Batch(
        seal,
        rows.sensor_ids,
        rows.observed_at_ms,
        rows.values,
        rows.quality,
        np.full(len(rows), np.nan, np.float32),
        np.ones(len(rows), np.int32),
    )


def turns(sensor_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many earlier rows have the same sensor; int64, shape ``(n,)``."""
    order = np.argsort(sensor_ids, kind="stable")
    starts = np.flatnonzero(np.diff(sensor_ids[order], prepend=-1))
    turn = np.empty(len(sensor_ids), np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return turn


def _joined(parts: Sequence[Readings]) -> Readings:
    return Readings(
        np.concatenate([part.sensor_ids for part in parts]),
        np.concatenate([part.observed_at_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.quality for part in parts]),
    )
