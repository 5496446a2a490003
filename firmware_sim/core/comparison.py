"""The oracle's judgement: what was made against what is stored, every difference named.

Works on one group of sensors at a time, so that millions of readings need no more memory than
one group; verdicts add up.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.haste import crowded
from wire.metric import equal, impossible

Keys = NDArray[np.int64]
EXAMPLES_MAX = 5


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """Readings of the ledger, in any order, no key twice.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``.
        values: float32, shape ``(n, METRICS)``, NaN = not measured; may be impossible.
        owed: bool, shape ``(n,)``: kept until committed, so that losing it is a loss.
    """

    sensor_ids: Keys
    observed_at_ms: Keys
    values: NDArray[np.float32]
    owed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Rows of the routine series, in any order, no key twice.

    Attributes:
        sensor_ids: int64, shape ``(m,)``.
        observed_at_us: int64, shape ``(m,)``, Unix microseconds, as precise as the table.
        values: float32, shape ``(m, METRICS)``, NaN = NULL.
        samples: int64, shape ``(m,)``.
    """

    sensor_ids: Keys
    observed_at_us: Keys
    values: NDArray[np.float32]
    samples: Keys


@dataclass(frozen=True, slots=True, eq=False)
class Refused:
    """Keys of readings refused on record, in any order; a key may occur twice.

    Attributes:
        sensor_ids: int64, shape ``(r,)``.
        observed_at_ms: int64, shape ``(r,)``.
        samples: int64, shape ``(r,)``: how many readings each stood for.
    """

    sensor_ids: Keys
    observed_at_ms: Keys
    samples: Keys


@dataclass(slots=True, eq=False)
class Sheds:
    """What hubs said they lost on purpose: an allowance, drawn down by every comparison.

    Attributes:
        sensor_ids: int64, shape ``(k,)``, ascending: every sensor of those hubs.
        hubs: int64, shape ``(k,)``: whose it is, as a number.
        hub: int64, shape ``(s,)``: which hub said so.
        from_ms: int64, shape ``(s,)``: oldest reading lost.
        to_ms: int64, shape ``(s,)``, ascending: newest reading lost.
        rows: int64, shape ``(s,)``: how many rows were lost at most; what is left of them.
    """

    sensor_ids: Keys
    hubs: Keys
    hub: Keys
    from_ms: Keys
    to_ms: Keys
    rows: Keys

    @classmethod
    def none(cls) -> Self:
        """Return what is said if nothing was ever lost."""
        return cls(*(np.empty(0, np.int64) for _ in range(6)))

    def excuse(self, sensor_ids: Keys, first_ms: Keys, last_ms: Keys) -> NDArray[np.bool_]:
        """Return which rows that are not stored are among those lost, as many as possible.

        Sheds are asked in the order they end, and each takes the earliest rows it covers.

        Args:
            sensor_ids: int64, shape ``(n,)``.
            first_ms: int64, shape ``(n,)``: earliest time the row may have had.
            last_ms: int64, shape ``(n,)``: latest time.
        """
        excused = np.zeros(len(sensor_ids), bool)
        if not len(self.sensor_ids) or not len(sensor_ids):
            return excused
        at = np.searchsorted(self.sensor_ids, sensor_ids).clip(max=len(self.sensor_ids) - 1)
        whose = np.where(self.sensor_ids[at] == sensor_ids, self.hubs[at], -1)
        order = np.argsort(last_ms, kind="stable")
        for shed in np.flatnonzero(self.rows > 0).tolist():
            covers = (
                (whose == self.hub[shed])
                & (first_ms <= self.to_ms[shed])
                & (last_ms >= self.from_ms[shed])
                & ~excused
            )
            taken = order[covers[order]][: self.rows[shed]]
            excused[taken] = True
            self.rows[shed] -= len(taken)
        return excused


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of readings.

    Attributes:
        readings_sent: Distinct readings in the ledger.
        readings_stored: Readings the routine series stands for (the sum of its samples).
        missing: Owed, and neither stored, nor refused on record, nor shed, nor throttled.
        shed: Owed, and among those their hub said it lost on purpose.
        throttled: Owed, not stored, and said faster than a sensor may speak: with it, what is
            stored around it would exceed the token bucket.
        extra: Stored, and never sent.
        conflicting: Stored rows with other values than the readings they stand for.
        refused: Sent, not stored, refused on record.
        refused_values: Impossible values that are, as they should be, absent from stored rows.
        lost_before_commit: Not owed, and neither stored nor refused.
        examples: Some of what is wrong, for people: ``(what, sensor_id, observed_at_ms)``.
    """

    readings_sent: int = 0
    readings_stored: int = 0
    missing: int = 0
    extra: int = 0
    conflicting: int = 0
    refused: int = 0
    refused_values: int = 0
    lost_before_commit: int = 0
    shed: int = 0
    throttled: int = 0
    examples: tuple[tuple[str, int, int], ...] = field(default=())

    def __add__(self, other: "Verdict") -> "Verdict":
        """Return the verdict on both groups."""
        counts = [f.name for f in fields(self) if f.name != "examples"]
        return replace(
            self,
            examples=(self.examples + other.examples)[:EXAMPLES_MAX],
            **{name: getattr(self, name) + getattr(other, name) for name in counts},
        )


def compare_rows(
    made: Made, stored: Stored, refused: Refused, sheds: Sheds | None = None
) -> Verdict:
    """Compare row by row: hubs that send every reading as it is.

    A stored time must be a sent one to the microsecond; values are equal within half the metric's
    resolution, impossible ones must be absent.
    """
    ours = keyed(made.sensor_ids, made.observed_at_ms * 1_000)
    theirs = keyed(stored.sensor_ids, stored.observed_at_us)
    at = positions(theirs, ours)
    found = at >= 0
    on_record = contains(keyed(refused.sensor_ids, refused.observed_at_ms * 1_000), ours)

    legal = made.values.copy()
    legal[impossible(made.values)] = np.nan
    same = np.ones(len(ours), bool)
    same[found] = equal(legal[found], stored.values[at[found]]).all(axis=1)
    same[found] &= stored.samples[at[found]] == 1
    absent = impossible(made.values)[found] & np.isnan(stored.values[at[found]])

    unknown = ~contains(ours, theirs)
    missing = ~found & ~on_record & made.owed
    fast = missing & crowded(made.sensor_ids, made.observed_at_ms, found | on_record)
    missing &= ~fast
    gone, at_ms = np.flatnonzero(missing), made.observed_at_ms[missing]
    excused = (sheds or Sheds.none()).excuse(made.sensor_ids[gone], at_ms, at_ms)
    missing[gone[excused]] = False
    return Verdict(
        readings_sent=len(ours),
        readings_stored=int(stored.samples.sum()),
        missing=int(missing.sum()),
        extra=int(stored.samples[unknown].sum()),
        conflicting=int((~same).sum()),
        refused=int((on_record & ~found).sum()),
        refused_values=int(absent.sum()),
        lost_before_commit=int((~found & ~on_record & ~made.owed).sum()),
        shed=int(excused.sum()),
        throttled=int(fast.sum()),
        examples=(
            *examples("missing", ours[missing]),
            *examples("extra", theirs[unknown]),
            *examples("conflicting", ours[~same]),
        ),
    )


_KEY = np.dtype([("sensor", "<i8"), ("at", "<i8")])


def keyed(sensor_ids: Keys, at: Keys) -> NDArray[np.void]:
    """Return pairs of a sensor and a time as one array of keys."""
    keys = np.empty(len(sensor_ids), _KEY)
    keys["sensor"], keys["at"] = sensor_ids, at
    return keys


def positions(where: NDArray[np.void], wanted: NDArray[np.void]) -> NDArray[np.intp]:
    """Return the position of each wanted key in ``where``, -1 if it is not there."""
    both = np.concatenate([where, wanted])
    order = np.lexsort((np.arange(len(both)), both["at"], both["sensor"]))
    ordered = both[order]
    is_source = order < len(where)
    new_run = np.ones(len(both), bool)
    new_run[1:] = ordered[1:] != ordered[:-1]
    head = order[np.flatnonzero(new_run)[np.cumsum(new_run) - 1]]  # first of each run of equals
    found = np.where(head < len(where), head, -1)
    positions = np.full(len(wanted), -1, np.intp)
    positions[order[~is_source] - len(where)] = found[~is_source]
    return positions


def contains(where: NDArray[np.void], wanted: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return which wanted keys are in ``where``."""
    return np.asarray(positions(where, wanted) >= 0)


def examples(
    what: str, keys: NDArray[np.void], unit_us: int = 1
) -> tuple[tuple[str, int, int], ...]:
    """Return the first few keys as examples of what is wrong, times in units of ``unit_us``."""
    return tuple(
        (what, int(key["sensor"]), int(key["at"]) * unit_us // 1_000) for key in keys[:EXAMPLES_MAX]
    )
