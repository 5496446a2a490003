"""A batch: the unit a hub sends, the cloud stores, and both agree never to count twice."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.ids import BatchKey, Epoch, Region, UnixMs, is_name
from wire.limits import (
    EPOCH_BITS,
    READINGS_PER_BATCH_MAX,
    REASON_CHARS_MAX,
    SAMPLES_MAX,
    SENSOR_ID_MAX,
    SEQUENCE_MAX,
    TIME_MS_MAX,
)
from wire.metric import METRICS
from wire.quality import QUALITY_MAX

NO_FLOOR: Final = UnixMs(0)


class Kind(IntEnum):
    """What a batch is. Append only."""

    ROUTINE = 0  # the routine series: every accepted reading exactly once
    EVIDENCE = 1  # raw copies around something suspicious, sent on the urgent channel
    SHED = 2  # a tombstone: batches lost on purpose, no rows


class Flag(IntFlag):
    """What happened to a whole batch. Append only."""

    NONE = 0
    THINNED = 1  # rows were merged in place, at the spool's cap, under the batch's own key
    BACKFILL = 2  # history sent on purpose: ``floor_ms`` replaces the store's retention floor


@dataclass(frozen=True, slots=True)
class Seal:
    """What a batch says of itself before its rows: the header.

    Attributes:
        key: Who made it and which one it is. Two batches with one key are the same batch.
        region: Where the hub stands.
        kind: Which table its rows are for.
        flags: See ``Flag``.
        floor_ms: Oldest ``observed_at`` a BACKFILL batch may carry; 0 for all others.
        rows_lost: Readings' rows merged away by thinning; 0 unless THINNED.
    """

    key: BatchKey
    region: Region
    kind: Kind = Kind.ROUTINE
    flags: Flag = Flag.NONE
    floor_ms: UnixMs = NO_FLOOR
    rows_lost: int = 0

    def __post_init__(self) -> None:
        """Refuse a header that could not legally exist.

        Raises:
            ValueError: Says which property fails.
        """
        _require(is_name(self.key.hub_id), "has no legal hub id")
        _require(is_name(self.region), "has no legal region")
        _require(0 <= self.key.epoch < 2**EPOCH_BITS, "has an epoch out of range")
        _require(0 <= self.key.sequence < SEQUENCE_MAX, "has a sequence out of range")
        _require(0 <= self.floor_ms <= TIME_MS_MAX, "has a floor out of range")
        _require(0 <= self.rows_lost <= SAMPLES_MAX, "has a count of lost rows out of range")
        _require(bool(self.floor_ms) <= (Flag.BACKFILL in self.flags), "has a floor, no backfill")
        _require(bool(self.rows_lost) <= (Flag.THINNED in self.flags), "lost rows, is not thinned")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Readings that travel together, one per row, columns as in ``Metric``.

    Rows are strictly increasing by (sensor_id, observed_at_ms), so no batch holds one key twice.

    Attributes:
        seal: Identity and kind.
        sensor_ids: int64, shape ``(n,)``, each >= 0.
        observed_at_ms: int64, shape ``(n,)``, sensor clock, Unix milliseconds, UTC.
        values: float32, shape ``(n, METRICS)``. NaN where the sensor measured nothing. May be
            physically impossible: that is judged row by row by whoever stores it.
        quality: int16, shape ``(n,)``, bits of ``Quality``.
        score: float32, shape ``(n,)``, model output in 0..1; NaN where no model judged.
        samples: int32, shape ``(n,)``, how many readings the row stands for, each >= 1.
    """

    seal: Seal
    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    quality: NDArray[np.int16]
    score: NDArray[np.float32]
    samples: NDArray[np.int32]

    @property
    def key(self) -> BatchKey:
        """The batch's identity."""
        return self.seal.key

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.sensor_ids)

    def __post_init__(self) -> None:
        """Refuse a batch that could not legally exist.

        Raises:
            ValueError: Says which property fails.
        """
        n = len(self.sensor_ids)
        _require(self.seal.kind is not Kind.SHED, "is a tombstone with rows")
        _require(1 <= n <= READINGS_PER_BATCH_MAX, f"holds {n} readings")
        _require(self.values.shape == (n, METRICS), "values and sensors differ in number")
        _require(not np.isinf(self.values).any(), "has an infinite value")
        for column in (self.observed_at_ms, self.quality, self.score, self.samples):
            _require(column.shape == (n,), "columns differ in length")
        _within(self.sensor_ids, 0, SENSOR_ID_MAX, "sensor id")
        _within(self.observed_at_ms, 0, TIME_MS_MAX, "time")
        _within(self.quality, 0, QUALITY_MAX, "quality")
        _within(self.samples, 1, SAMPLES_MAX, "number of samples")
        scored = self.score[~np.isnan(self.score)]
        _require(bool(((scored >= 0) & (scored <= 1)).all()), "has a score out of range")
        same = self.sensor_ids[1:] == self.sensor_ids[:-1]
        rising = (self.sensor_ids[1:] > self.sensor_ids[:-1]) | (
            same & (self.observed_at_ms[1:] > self.observed_at_ms[:-1])
        )
        _require(bool(rising.all()), "is not sorted by sensor and time, each instant once")


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A batch without rows: its hub lost ``[low, high)`` of ``epoch`` on purpose.

    It travels under its own key. Those named batches that did arrive stay stored; only the others
    become *shed*.

    Attributes:
        seal: Identity; ``kind`` is SHED.
        epoch: Whose sequences are named; may be an earlier life of the same hub.
        low: First sequence lost.
        high: One past the last.
        observed_from_ms: Oldest reading lost.
        observed_to_ms: Newest reading lost.
        rows: How many rows were lost.
        reason: For people.
    """

    seal: Seal
    epoch: Epoch
    low: int
    high: int
    observed_from_ms: UnixMs
    observed_to_ms: UnixMs
    rows: int
    reason: str

    @property
    def key(self) -> BatchKey:
        """The tombstone's own identity."""
        return self.seal.key

    def __post_init__(self) -> None:
        """Refuse a tombstone that could not legally exist.

        Raises:
            ValueError: Says which property fails.
        """
        _require(self.seal.kind is Kind.SHED, "is a tombstone of another kind")
        _require(0 <= self.epoch < 2**EPOCH_BITS, "sheds an epoch out of range")
        _require(0 <= self.low < self.high <= SEQUENCE_MAX, "sheds no sequence")
        _require(self.epoch != self.key.epoch or self.high <= self.key.sequence, "sheds the future")
        _require(
            0 <= self.observed_from_ms <= self.observed_to_ms <= TIME_MS_MAX,
            "sheds times out of order",
        )
        _require(0 <= self.rows <= SAMPLES_MAX * READINGS_PER_BATCH_MAX, "sheds impossibly many")
        _require(1 <= len(self.reason) <= REASON_CHARS_MAX, "sheds without a reason of legal size")


def _within(column: NDArray[np.integer[Any]], low: int, high: int, what: str) -> None:
    _require(bool(((column >= low) & (column <= high)).all()), f"has a {what} out of range")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"batch {otherwise}")
