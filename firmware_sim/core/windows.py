"""The oracle's judgement of hubs that send one row a window: how many readings, and which mean.

A row has the time of its window's first reading, the mean of each metric over the readings that
measured it, and their number. Readings that come after their window was emitted travel alone.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.comparison import (
    Keys,
    Made,
    Refused,
    Sheds,
    Stored,
    Verdict,
    examples,
    keyed,
    positions,
)
from firmware_sim.core.haste import crowded, turned_away
from wire.limits import SENSOR_BURST
from wire.metric import RESOLUTION, impossible

Floats = NDArray[np.float64]
N = TypeVar("N", bound=np.generic)


def compare_windows(
    made: Made, stored: Stored, refused: Refused, window_ms: int, sheds: Sheds | None = None
) -> Verdict:
    """Compare counts per sensor and window, and every row's values with what it stands for.

    A row, stored or refused, stands for ``samples`` readings of the window its own time falls in;
    windows begin at multiples of their length. A reading not owed may be counted in it or not.
    A stored row conflicts if its time is no reading's, or if ``agreement`` finds other values.

    Args:
        made: The ledger's readings.
        stored: The table's rows.
        refused: Rows refused on record.
        window_ms: Length of a window, milliseconds.
        sheds: What hubs said they lost; a row of theirs excuses what one window misses.
    """
    ours = keyed(made.sensor_ids, made.observed_at_ms // window_ms)
    theirs = keyed(stored.sensor_ids, stored.observed_at_us // (window_ms * 1_000))
    refusals = keyed(refused.sensor_ids, refused.observed_at_ms // window_ms)
    windows, place = np.unique(np.concatenate([ours, theirs, refusals]), return_inverse=True)
    our_place, their_place, refused_place = np.split(place, [len(ours), len(ours) + len(theirs)])
    owed = _counted(our_place[made.owed], len(windows))
    free = _counted(our_place[~made.owed], len(windows))
    counted = _counted(their_place, len(windows), stored.samples)
    on_record = _counted(refused_place, len(windows), refused.samples)
    on_record = np.minimum(on_record, (owed + free - counted).clip(min=0))
    missing = (owed - counted - on_record).clip(min=0)
    fast = np.minimum(missing, _throttled(made, our_place, len(windows)))
    extra = (counted - owed - free).clip(min=0)
    lost = (owed + free - counted - on_record).clip(min=0) - missing
    missing -= fast
    gone = np.flatnonzero(missing)
    start_ms = windows["at"][gone] * window_ms
    allowance = sheds or Sheds.none()
    excused = gone[allowance.excuse(windows["sensor"][gone], start_ms, start_ms + window_ms - 1)]
    shed = int(missing[excused].sum())
    missing[excused] = 0
    agreed = agreement(made, stored, refused, window_ms)
    # A row nobody sent is extra already; one whose time was moved is counted by its window.
    wrong = np.where(agreed.begun, ~agreed.same.all(axis=1), extra[their_place] == 0)
    return Verdict(
        readings_sent=len(ours),
        readings_stored=int(stored.samples.sum()),
        missing=int(missing.sum()),
        extra=int(extra.sum()),
        conflicting=int(wrong.sum()),
        refused=int(on_record.sum()),
        refused_values=int(agreed.absent[agreed.same].sum()),
        lost_before_commit=int(lost.sum()),
        shed=shed,
        throttled=int(fast.sum()),
        examples=(
            *examples("missing", windows[missing > 0], window_ms * 1_000),
            *examples("extra", windows[extra > 0], window_ms * 1_000),
            *examples("conflicting", keyed(stored.sensor_ids, stored.observed_at_us)[wrong]),
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """Stored rows against the readings they may stand for.

    Attributes:
        begun: bool, shape ``(m,)``: a reading was sent at the row's own time.
        same: bool, shape ``(m, METRICS)``: the value is one those readings can have given.
        absent: int64, shape ``(m, METRICS)``: impossible values among those readings.

    A row that was not begun is said to be the same.
    """

    begun: NDArray[np.bool_]
    same: NDArray[np.bool_]
    absent: Keys


def agreement(made: Made, stored: Stored, refused: Refused, window_ms: int) -> Agreement:
    """Return whether each stored row's values are the mean of readings it can stand for.

    A row of one sample stands for the reading of its own time. Any other stands for that one and
    for later ones of its window, but none at whose time another row, stored or refused, begins. If
    there are just ``samples`` of these, they are its readings, and each value must be their mean to
    within half a step of the metric (and float32's own). If there are more, because some were lost
    before a commit, throttled, refused or shed, nobody knows which: each value must then lie
    between the least and the greatest of them, and be absent only if so many did not measure it.
    If there are fewer, the window's count is wrong and told elsewhere; the mean is asked of these.
    """
    order = np.lexsort((made.observed_at_ms, made.sensor_ids))
    ids, at_ms = made.sensor_ids[order], made.observed_at_ms[order]
    used = np.flatnonzero(
        ~(np.isnan(made.values).all(axis=0) & np.isnan(stored.values).all(axis=0))
    )
    values = made.values[np.ix_(order, used)].astype(np.float64)
    bad = impossible(made.values)[np.ix_(order, used)]
    values[bad] = np.nan
    sent = keyed(ids, at_ms * 1_000)
    first = positions(sent, keyed(stored.sensor_ids, stored.observed_at_us))
    begun = first >= 0
    alone = positions(sent, keyed(refused.sensor_ids, refused.observed_at_ms * 1_000))
    taken = np.zeros(len(ids), np.bool_)
    taken[first[begun]] = taken[alone[alone >= 0]] = True

    same = np.ones(stored.values.shape, np.bool_)
    absent = np.zeros(same.shape, np.int64)
    if begun.any():
        p, samples = first[begun], stored.samples[begun]
        end = _ends(ids, at_ms // window_ms)[p]
        end[samples == 1] = p[samples == 1] + 1
        told = _Candidates(values, bad, taken, p, end)
        where = np.ix_(begun, used)
        same[where] = told.allow(stored.values[where], samples, RESOLUTION[used])
        absent[where] = told.absent
    return Agreement(begun, same, absent)


class _Candidates:
    """The readings each row may stand for: its own first one, and those not ``taken`` up to end."""

    def __init__(
        self,
        values: Floats,
        bad: NDArray[np.bool_],
        taken: NDArray[np.bool_],
        first: NDArray[np.intp],
        end: NDArray[np.intp],
    ) -> None:
        others = np.where(taken[:, None], np.nan, values)
        own = values[first]
        self._own_measured = ~np.isnan(own)
        self._readings = 1 + _over(np.add, (~taken).astype(np.int64), first, end)
        self._measured = self._own_measured + _over(np.add, (~np.isnan(others)) * 1, first, end)
        sums = np.nan_to_num(own) + _over(np.add, np.nan_to_num(others), first, end)
        with np.errstate(invalid="ignore"):
            self._mean = sums / self._measured
        self._least = np.fmin(own, _over(np.fmin, others, first, end))
        self._most = np.fmax(own, _over(np.fmax, others, first, end))
        self.absent = bad[first] + _over(np.add, (bad & ~taken[:, None]) * 1, first, end)

    def allow(
        self, values: NDArray[np.float32], samples: Keys, resolution: Floats
    ) -> NDArray[np.bool_]:
        """Return which values rows of so many samples may have."""
        known = (self._readings <= samples)[:, None]
        low = np.where(known, self._mean, self._least)
        high = np.where(known, self._mean, self._most)
        # A hair above one half, as in ``wire.metric.equal``; the mean is rounded to float32 first.
        slack = resolution * 0.5001 + np.spacing(np.abs(values)).astype(np.float64)
        within = (values >= low - slack) & (values <= high + slack)
        unmeasured = self._readings[:, None] - self._measured
        gone = ~self._own_measured & (unmeasured >= np.minimum(samples, self._readings)[:, None])
        allowed: NDArray[np.bool_] = np.where(np.isnan(values), gone, within)
        return allowed


def _ends(ids: Keys, window: Keys) -> NDArray[np.intp]:
    """Return, for each reading in order, where its sensor's window ends."""
    last = np.ones(len(ids), np.bool_)
    last[:-1] = (ids[1:] != ids[:-1]) | (window[1:] != window[:-1])
    ends = np.flatnonzero(last) + 1
    return ends[np.cumsum(last) - last]


def _over(
    ufunc: np.ufunc, of: NDArray[N], first: NDArray[np.intp], end: NDArray[np.intp]
) -> NDArray[N]:
    """Return ``ufunc`` over the rows from each ``first`` up to, not including, its ``end``."""
    padded = np.concatenate([of, of[-1:]])
    edges = np.stack([first, end], axis=1).ravel()
    found: NDArray[N] = ufunc.reduceat(padded, edges, axis=0)[::2]
    return found


def _throttled(made: Made, place: Keys, windows: int) -> Keys:
    """Return how many readings of each window its hub may have turned away."""
    every = np.ones(len(place), np.bool_)
    fast = crowded(made.sensor_ids, made.observed_at_ms, every)
    some = np.isin(made.sensor_ids, made.sensor_ids[fast])
    away = turned_away(made.sensor_ids[some], made.observed_at_ms[some])
    in_order = _counted(place[some][away], windows)
    return np.minimum(_counted(place[fast], windows), in_order + SENSOR_BURST)


def _counted(place: Keys, windows: int, samples: Keys | None = None) -> Keys:
    return np.bincount(place, samples, minlength=windows).astype(np.int64)
