"""The rows of many batches as one block of columns: sorted, screened, each instant once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.reach import Reach
from wire.batch import Batch, Flag, Seal
from wire.ids import UnixMs
from wire.limits import FUTURE_MS_MAX
from wire.metric import HIGH, LOW, METRICS, equal

Bools = NDArray[np.bool_]


class Fault(StrEnum):
    """Why a row is refused while its neighbours are stored."""

    IMPOSSIBLE = "impossible"  # a value nature does not allow
    FOREIGN = "foreign"  # another hub speaks for the sensor
    CROWDED = "crowded"  # nobody speaks for it, and its hub speaks for as many as one may
    FUTURE = "future"  # more than a day ahead of the store
    EXPIRED = "expired"  # older than the store takes, or history spread over too many months


FAULTS: Final = tuple(Fault)
FINE: Final = -1
MONTHS_PER_FLUSH_MAX: Final = 120  # of history, and of each kind: ten years of daily values fit


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of many batches.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``.
        metrics: Which metrics any row measured, ascending: the rows of ``values``.
        values: float32, shape ``(len(metrics), n)``; NaN where not measured.
        quality: int16, shape ``(n,)``.
        score: float32, shape ``(n,)``; NaN where no model judged.
        samples: int32, shape ``(n,)``.
        batch: int32, shape ``(n,)``: index of the batch the row came in.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    metrics: tuple[int, ...]
    values: NDArray[np.float32]
    quality: NDArray[np.int16]
    score: NDArray[np.float32]
    samples: NDArray[np.int32]
    batch: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sensor_ids)

    def take(self, which: Bools | NDArray[np.intp] | slice) -> "Rows":
        """Return some of the rows, in the order asked for."""
        return Rows(
            self.sensor_ids[which],
            self.observed_at_ms[which],
            self.metrics,
            self.values[:, which],
            self.quality[which],
            self.score[which],
            self.samples[which],
            self.batch[which],
        )

    def wide(self) -> NDArray[np.float32]:
        """Return the values of every metric, shape ``(n, METRICS)``."""
        values = np.full((METRICS, len(self)), np.nan, np.float32)
        values[list(self.metrics)] = self.values
        return values.T


def gather(batches: Sequence[Batch]) -> Rows:
    """Return all rows of ``batches``, sorted by (sensor, time), ties in order of batch."""
    sensor_ids = np.concatenate([b.sensor_ids for b in batches])
    observed = np.concatenate([b.observed_at_ms for b in batches])
    order = np.lexsort((observed, sensor_ids))
    values = np.concatenate([b.values.T for b in batches], axis=1)
    present = ~np.isnan(values)
    metrics = tuple(np.flatnonzero(present.any(axis=1)).tolist())
    return Rows(
        sensor_ids[order],
        observed[order],
        metrics,
        values[list(metrics)][:, order],
        np.concatenate([b.quality for b in batches])[order],
        np.concatenate([b.score for b in batches])[order],
        np.concatenate([b.samples for b in batches])[order],
        np.repeat(np.arange(len(batches), dtype=np.int32), [len(b) for b in batches])[order],
    )


def screen(
    rows: Rows, seals: Sequence[Seal], strange: NDArray[np.int8], now_ms: UnixMs, reach: Reach
) -> NDArray[np.int8]:
    """Return each row's fault.

    Of history older than the retention, the ``MONTHS_PER_FLUSH_MAX`` months with the most rows are
    taken: who spreads rows thinly over the ages loses to who fills a month.

    Args:
        rows: From ``gather``.
        seals: What ``rows.batch`` points into.
        strange: int8, shape ``(n,)``: FOREIGN or CROWDED as an index into ``FAULTS``, or ``FINE``.
        now_ms: The store's time.
        reach: How far back rows are taken.

    Returns:
        int8, shape ``(n,)``: an index into ``FAULTS``, or ``FINE``.
    """
    retained_from_ms = now_ms - reach.retention_ms
    floors = np.array([_floor(seal, retained_from_ms, reach) for seal in seals], np.int64)
    faults = np.full(len(rows), FINE, np.int8)
    faults[rows.observed_at_ms < floors[rows.batch]] = FAULTS.index(Fault.EXPIRED)
    faults[rows.observed_at_ms > now_ms + FUTURE_MS_MAX] = FAULTS.index(Fault.FUTURE)
    faults[strange != FINE] = strange[strange != FINE]
    metrics = list(rows.metrics)
    outside = (rows.values < LOW[metrics, None]) | (rows.values > HIGH[metrics, None])
    faults[outside.any(axis=0)] = FAULTS.index(Fault.IMPOSSIBLE)
    history = np.flatnonzero((faults == FINE) & (rows.observed_at_ms < retained_from_ms))
    if len(history):
        spread = _spread(rows.observed_at_ms[history])
        faults[history[spread]] = FAULTS.index(Fault.EXPIRED)
    return faults


def _floor(seal: Seal, retained_from_ms: int, reach: Reach) -> int:
    backfill = Flag.BACKFILL in seal.flags
    return max(seal.floor_ms, reach.backfill_from_ms) if backfill else retained_from_ms


def _spread(observed_at_ms: NDArray[np.int64]) -> Bools:
    """Return which rows lie outside the months that may be taken at once."""
    month = observed_at_ms.astype("M8[ms]").astype("M8[M]").astype(np.int64)
    found, place, count = np.unique(month, return_inverse=True, return_counts=True)
    fullest = np.lexsort((-found, -count))[:MONTHS_PER_FLUSH_MAX]
    beyond = np.ones(len(found), np.bool_)
    beyond[fullest] = False
    return beyond[place]


@dataclass(frozen=True, slots=True, eq=False)
class Unique:
    """Rows with each instant of a sensor once.

    Attributes:
        rows: The first of each, in order.
        conflicts: Later ones that say something else.
        duplicates: How many later ones said the same.
    """

    rows: Rows
    conflicts: Rows
    duplicates: int


def unique(rows: Rows) -> Unique:
    """Return sorted rows with each instant once; the earliest batch wins."""
    same = np.zeros(len(rows), np.bool_)
    same[1:] = (rows.sensor_ids[1:] == rows.sensor_ids[:-1]) & (
        rows.observed_at_ms[1:] == rows.observed_at_ms[:-1]
    )
    if not same.any():
        return Unique(rows, rows.take(same), 0)
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    return _split(rows, same, rows.take(same), rows.take(first[same]))


def against(rows: Rows, stored: Rows) -> Unique:
    """Return the rows whose instants are not in ``stored`` yet.

    Args:
        rows: Sorted, each instant once.
        stored: Sorted rows of the table at some of those instants, each in ``rows``.
    """
    key = np.dtype([("sensor", np.int64), ("at", np.int64)])
    keys, taken = np.empty(len(rows), key), np.empty(len(stored), key)
    keys["sensor"], keys["at"] = rows.sensor_ids, rows.observed_at_ms
    taken["sensor"], taken["at"] = stored.sensor_ids, stored.observed_at_ms
    clash = np.isin(keys, taken)
    return _split(rows, clash, rows.take(clash), stored)


def _split(rows: Rows, later: Bools, again: Rows, first: Rows) -> Unique:
    """Return ``rows`` without ``later`` (``again``), each of which is measured by ``first``."""
    agrees = same_values(again, first)
    return Unique(rows.take(~later), again.take(~agrees), int(agrees.sum()))


def months(rows: Rows) -> set[UnixMs]:
    """Return the beginning of every month rows were observed in, UTC."""
    if not len(rows):
        return set()
    observed = rows.observed_at_ms
    ends = np.array([observed.min(), observed.max()]).astype("M8[ms]").astype("M8[M]")
    if ends[0] != ends[1]:
        ends = np.unique(observed.astype("M8[ms]").astype("M8[M]"))
    return {UnixMs(start) for start in ends.astype("M8[ms]").astype(np.int64).tolist()}


def same_values(a: Rows, b: Rows) -> Bools:
    """Return which rows say the same: every metric within half a step, or absent in both."""
    agrees: Bools = equal(a.wide(), b.wide()).all(axis=1)
    return agrees
