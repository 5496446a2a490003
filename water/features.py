"""How far is a reading from what its sensor usually measures? The features a model scores.

Each metric of a sensor has a baseline at several time constants: an exponential mean and scale
(mean absolute residual) that stop learning while the residual is large, and take the present value
for granted once it has been large for long. Nothing looks ahead: a reading is held against what
came before it. Residuals are sorted over the metrics, so a model cannot learn which probe is which,
and a sensor with one metric is judged by the same model as one with nine.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.metric import METRICS, RESOLUTION, Metric

# Temperature, flow and level follow the weather and the pumps: they say nothing of contamination.
JUDGED: Final = np.array(
    [m for m in Metric if m not in (Metric.TEMPERATURE, Metric.FLOW, Metric.WATER_LEVEL)]
)
NEVER: Final = -1
RESIDUAL_MAX: Final = 50.0
"""In scales; beyond it a residual says no more."""
_MINUTE_MS: Final = 60_000

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How baselines learn; part of a model's bundle, since its weights fit no others.

    Attributes:
        memory_ms: Time constants of the baselines.
        freeze_at: A residual of more scales than this is not learnt.
        accept_ms: Large for so long, the present value is the new mean and the scale is doubled.
        steps_min: A scale counts as at least so many steps of the metric's resolution.
        warm_readings: A metric is warm, and counts, once it has been measured so often.
        shown: So many of the largest residuals are features, at each time constant.
    """

    memory_ms: tuple[int, ...] = (60 * _MINUTE_MS, 360 * _MINUTE_MS, 1_440 * _MINUTE_MS)
    freeze_at: float = 4.0
    accept_ms: int = 60 * _MINUTE_MS
    steps_min: float = 4.0
    warm_readings: int = 60
    shown: int = 3

    @property
    def width(self) -> int:
        """How many features a reading has."""
        return len(self.memory_ms) * (self.shown + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Baselines:
    """What is remembered of ``s`` sensors at ``k`` time constants of their ``j`` judged metrics.

    Attributes:
        mean: float64, shape ``(s, k, j)``, in the metric's unit.
        scale: float64, shape ``(s, k, j)``: the mean absolute residual, >= 0.
        since_ms: int64, shape ``(s, k, j)``: when the residual became large, else ``NEVER``.
        last_ms: int64, shape ``(s, j)``: when the metric was last measured.
        seen: int64, shape ``(s, j)``: how often it was measured.
    """

    mean: Floats
    scale: Floats
    since_ms: Times
    last_ms: Times
    seen: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of sensors."""
        return len(self.mean)

    def take(self, which: NDArray[np.intp]) -> "Baselines":
        """Return a copy of some sensors' baselines."""
        return Baselines(*(column[which] for column in self._columns()))

    def put(self, which: NDArray[np.intp], those: "Baselines") -> None:
        """Replace some sensors' baselines."""
        for mine, new in zip(self._columns(), those._columns(), strict=True):
            mine[which] = new

    def grown(self, sensors: int) -> "Baselines":
        """Return them with room for at least this many sensors; new ones were never heard."""
        if sensors <= len(self):
            return self
        more = blank(max(sensors, 2 * len(self)) - len(self), self.mean.shape[1])
        pairs = zip(self._columns(), more._columns(), strict=True)
        return Baselines(*(np.concatenate(pair) for pair in pairs))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.mean, self.scale, self.since_ms, self.last_ms, self.seen


def blank(sensors: int, constants: int) -> Baselines:
    """Return the baselines, at so many time constants, of sensors never heard."""
    shape = (sensors, constants, len(JUDGED))
    return Baselines(
        np.zeros(shape),
        np.zeros(shape),
        np.full(shape, NEVER, np.int64),
        np.full((sensors, len(JUDGED)), NEVER, np.int64),
        np.zeros((sensors, len(JUDGED)), np.int64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What ``observe`` concludes.

    Attributes:
        features: float32, shape ``(n, width)``, 0..ln(1 + ``RESIDUAL_MAX``): for each time constant
            the largest residuals, falling, and their root mean square, all as ``ln(1 + x)``. A row
            is NaN where no measured metric is warm.
        after: One row for each sensor given, as it is afterwards.
    """

    features: NDArray[np.float32]
    after: Baselines


def observe(
    before: Baselines,
    whose: NDArray[np.intp],
    at_ms: Times,
    values: NDArray[np.float32],
    told: Parameters,
) -> Observed:
    """Hold readings against what came before each of them, and learn from them; pure.

    Learning goes from instant to instant, all sensors at once: as many turns as the busiest sensor
    has readings here, which is one where windows are closed.

    Args:
        before: One row for each sensor that has a reading here.
        whose: Shape ``(n,)``, rising: each reading's row in ``before``.
        at_ms: int64, shape ``(n,)``: rising within a sensor, later than the sensor's past.
        values: float32, shape ``(n, METRICS)``. NaN (not measured) leaves no trace.
        told: How baselines learn.
    """
    assert values.shape[1:] == (METRICS,)
    judged = values[:, JUDGED]
    measured = ~np.isnan(judged)
    earlier_ms, seen = _earlier(before, whose, at_ms, measured)
    warm = measured & (seen >= told.warm_readings)
    after = before.take(np.arange(len(before)))
    np.maximum.at(after.last_ms, whose, np.where(measured, at_ms[:, None], NEVER))
    np.add.at(after.seen, whose, measured)
    row, metric = np.nonzero(measured & (seen == 0))
    after.mean[whose[row], :, metric] = judged[row, metric, None]
    elapsed_ms = np.where(seen > 0, at_ms[:, None] - earlier_ms, 0)
    gain = -np.expm1(-elapsed_ms[:, None, :] / np.array(told.memory_ms)[:, None])
    # A young baseline is the plain average of what it has seen.
    gain = np.maximum(gain, 1 / (1 + seen[:, None, :])) * measured[:, None, :]
    residual = np.zeros(gain.shape)
    turn = np.arange(len(values)) - np.searchsorted(whose, whose)
    in_turn = np.argsort(turn, kind="stable")
    numbers = np.where(measured, judged, 0).astype(np.float64)[:, None, :]
    for now in np.split(in_turn, np.cumsum(np.bincount(turn))[:-1]):
        step = (numbers[now], at_ms[now, None, None], gain[now], warm[now, None, :])
        residual[now] = _learn(after, whose[now], *step, told)
    return Observed(_features(residual, warm, told), after)


def _earlier(
    before: Baselines, whose: NDArray[np.intp], at_ms: Times, measured: NDArray[np.bool_]
) -> tuple[Times, NDArray[np.int64]]:
    """Return, per reading and metric, when it was last measured before, and how often."""
    own = np.searchsorted(whose, whose)[:, None]
    count: NDArray[np.int64] = np.cumsum(measured, axis=0) - measured
    seen = before.seen[whose] + count - np.take_along_axis(count, own, axis=0)
    rows = np.where(measured, np.arange(len(measured))[:, None], NEVER)
    last = np.maximum.accumulate(rows, axis=0)
    last = np.concatenate([np.full((1, last.shape[1]), NEVER), last])[:-1]
    return np.where(last >= own, at_ms[last], before.last_ms[whose]), seen


def _learn(
    past: Baselines,
    who: NDArray[np.intp],
    value: Floats,
    now_ms: Times,
    gain: Floats,
    warm: NDArray[np.bool_],
    told: Parameters,
) -> Floats:
    """Bring baselines up to date with one reading each; return how many scales away each was.

    Args:
        past: Changed in place.
        who: Shape ``(n,)``: the readings' sensors, each once.
        value: Shape ``(n, 1, j)``.
        now_ms: Shape ``(n, 1, 1)``.
        gain: Shape ``(n, k, j)``: how much of a mean will be new; 0 where nothing was measured.
        warm: Shape ``(n, 1, j)``: whether a residual may be called large.
        told: How baselines learn.

    Returns:
        Shape ``(n, k, j)``; any number where nothing was measured.
    """
    mean, scale, since_ms = past.mean[who], past.scale[who], past.since_ms[who]
    away = value - mean
    distance = np.abs(away)
    size = np.maximum(scale, told.steps_min * RESOLUTION[JUDGED])
    residual: Floats = distance / size
    large = warm & (residual > told.freeze_at)
    since_ms = np.where(large & (since_ms == NEVER), now_ms, since_ms)
    accepted = large & (now_ms - since_ms >= told.accept_ms)
    gain = np.where(large, 0, gain)
    past.mean[who] = np.where(accepted, value, mean + gain * away)
    past.scale[who] = np.where(accepted, 2 * size, scale + gain * (distance - scale))
    past.since_ms[who] = np.where(accepted | (gain > 0), NEVER, since_ms)
    return residual


def _features(residual: Floats, warm: NDArray[np.bool_], told: Parameters) -> NDArray[np.float32]:
    size = np.where(warm[:, None, :], np.minimum(residual, RESIDUAL_MAX), 0)
    largest = -np.sort(-size, axis=2)[:, :, : told.shown]
    metrics = np.maximum(warm.sum(axis=1), 1)[:, None, None]
    strength = np.sqrt((size**2).sum(axis=2, keepdims=True) / metrics)
    features = np.log1p(np.concatenate([largest, strength], axis=2)).reshape(len(warm), told.width)
    return np.where(warm.any(axis=1)[:, None], features, np.nan).astype(np.float32)
