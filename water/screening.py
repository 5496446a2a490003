"""Is a reading plausible? Judged from the sensor's own last readings, many sensors at once.

Flat line, spike and rate speak of the probe; a value out of its band speaks of the water. The
judgement marks, it never withholds: the reading goes on in any case.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from water.bands import Bands, breaches
from wire.metric import METRICS, RESOLUTION, Metric
from wire.quality import Quality

_MINUTE_MS: Final = 60_000
_EACH: Final = np.arange(METRICS)

# Faster than water moves past a probe at one reading a second, with room for a strong disturbance;
# platform's own figures, not taken from a norm.
_RATE_PER_S: Final = {
    Metric.PH: 0.5,
    Metric.TURBIDITY: 100.0,
    Metric.DISSOLVED_OXYGEN: 2.0,
    Metric.TEMPERATURE: 1.0,
    Metric.CONDUCTIVITY: 500.0,
    Metric.ORP: 100.0,
    Metric.FREE_CHLORINE: 1.0,
    Metric.CHLORINE_DIOXIDE: 0.5,
    Metric.NITRATE: 10.0,
    Metric.PHOSPHATE: 2.0,
    Metric.LEAD: 20.0,
    Metric.ARSENIC: 20.0,
    Metric.FLOW: 1_000.0,
    Metric.WATER_LEVEL: 0.5,
}


@dataclass(frozen=True, slots=True, eq=False)
class Plausible:
    """How a healthy probe behaves, per metric; each column float64, shape ``(METRICS,)``.

    Attributes:
        rate_per_s: Fastest change, in the metric's unit a second.
        spike: A jump at least this large that comes back within ``spike_ms`` is a spike.
        spike_ms: See there.
        flat_ms: Longest time without a move by one step of the resolution.
    """

    rate_per_s: NDArray[np.float64]
    spike: NDArray[np.float64]
    flat_ms: NDArray[np.float64]
    spike_ms: int = 5 * _MINUTE_MS


def plausible(flat_ms: int = 120 * _MINUTE_MS) -> Plausible:
    """Return the platform's own figures."""
    rate = np.array([_RATE_PER_S[metric] for metric in Metric])
    return Plausible(rate, rate, np.full(METRICS, float(flat_ms)))


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is remembered of each sensor, one row a sensor, shape ``(s, METRICS)``.

    Attributes:
        last: float32, the value last measured; NaN if there is none.
        before: float32, the one before that; NaN if there is none.
        last_ms: int64, when ``last`` was measured.
        moved_ms: int64, when the value last moved by a step.
    """

    last: NDArray[np.float32]
    before: NDArray[np.float32]
    last_ms: NDArray[np.int64]
    moved_ms: NDArray[np.int64]

    def take(self, which: NDArray[np.intp]) -> "Past":
        """Return the past of some sensors."""
        return Past(self.last[which], self.before[which], self.last_ms[which], self.moved_ms[which])

    def put(self, which: NDArray[np.intp], past: "Past") -> None:
        """Replace the past of some sensors."""
        self.last[which], self.before[which] = past.last, past.before
        self.last_ms[which], self.moved_ms[which] = past.last_ms, past.moved_ms

    def grown(self, sensors: int) -> "Past":
        """Return it with room for at least this many sensors; new ones were never heard."""
        more = blank(max(sensors, 2 * len(self.last)) - len(self.last))
        return Past(
            np.concatenate([self.last, more.last]),
            np.concatenate([self.before, more.before]),
            np.concatenate([self.last_ms, more.last_ms]),
            np.concatenate([self.moved_ms, more.moved_ms]),
        )


def blank(sensors: int) -> Past:
    """Return the past of sensors never heard."""
    nothing = np.full((sensors, METRICS), np.nan, np.float32)
    never = np.full((sensors, METRICS), -1, np.int64)
    return Past(nothing, nothing.copy(), never, never.copy())


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """The judgement.

    Attributes:
        quality: int16, shape ``(n,)``: bits of ``Quality``. SPIKE marks the reading that came back.
        suspicious: bool, shape ``(n,)``: worth showing to somebody at once. A flat line is worth it
            once, when it becomes one.
        past: One row for each sensor given, as it is afterwards.
    """

    quality: NDArray[np.int16]
    suspicious: NDArray[np.bool_]
    past: Past


def out_of_band(values: NDArray[np.float32], healthy: Bands) -> NDArray[np.bool_]:
    """Return which readings have a value outside its band, shape ``(n,)``."""
    outside: NDArray[np.bool_] = breaches(values, healthy).any(axis=1)
    return outside


def screen(
    past: Past,
    whose: NDArray[np.intp],
    at_ms: NDArray[np.int64],
    values: NDArray[np.float32],
    probe: Plausible,
) -> Screened:
    """Judge readings by what came before them; pure.

    Args:
        past: One row for each sensor that has a reading here.
        whose: Shape ``(n,)``, rising: each reading's row in ``past``; every row occurs.
        at_ms: int64, shape ``(n,)``: rising within a sensor, later than the sensor's past.
        values: float32, shape ``(n, METRICS)``, NaN where nothing was measured.
        probe: How a healthy probe behaves.
    """
    table = _table(past, whose, at_ms, values)
    present = ~np.isnan(values)
    latest = _filled(table.measured)
    prior = np.zeros_like(latest)
    prior[1:] = latest[:-1]
    was = table.values[prior, _EACH]
    was[table.past] = past.before
    was_ms = table.at_ms[prior, _EACH]
    before = was[prior, _EACH][table.reading]
    before_ms = was_ms[prior, _EACH][table.reading]
    moved_ms = _moved(table, was, past.moved_ms)
    now_ms = at_ms[:, None]
    value, last, last_ms = values, was[table.reading], was_ms[table.reading]
    with np.errstate(invalid="ignore"):
        step = np.abs(value - last)
        fast = step > probe.rate_per_s * np.maximum(now_ms - last_ms, 1_000) / 1_000
        spike = (np.abs(last - before) > probe.spike) & (step > probe.spike)
        spike &= (np.abs(value - before) < probe.spike / 2) & (now_ms - before_ms <= probe.spike_ms)
    still_ms = moved_ms[table.reading]
    flat = present & (now_ms - still_ms > probe.flat_ms)
    newly = flat & (last_ms - still_ms <= probe.flat_ms)
    quality = (
        Quality.FLAT * flat.any(axis=1)
        | Quality.SPIKE * spike.any(axis=1)
        | Quality.RATE * fast.any(axis=1)
    ).astype(np.int16)
    end = np.append(table.past[1:], len(table.values)) - 1
    final = latest[end]
    after = Past(
        table.values[final, _EACH],
        was[final, _EACH],
        table.at_ms[final, _EACH],
        moved_ms[end],
    )
    return Screened(quality, (fast | spike | newly).any(axis=1), after)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Each sensor's past as one row, its readings under it.

    Attributes:
        past: Which rows are a past, shape ``(s,)``.
        reading: Which rows are the readings, shape ``(n,)``.
        values: float32, shape ``(s + n, METRICS)``.
        at_ms: int64, likewise.
        measured: bool, likewise; a past counts as measured, so that no search leaves its sensor.
    """

    past: NDArray[np.intp]
    reading: NDArray[np.intp]
    values: NDArray[np.float32]
    at_ms: NDArray[np.int64]
    measured: NDArray[np.bool_]


def _table(
    past: Past,
    whose: NDArray[np.intp],
    at_ms: NDArray[np.int64],
    values: NDArray[np.float32],
) -> _Table:
    sensors, n = len(past.last), len(values)
    heads = np.searchsorted(whose, np.arange(sensors)) + np.arange(sensors)
    reading = np.arange(n) + whose + 1
    rows = np.empty((sensors + n, METRICS), np.float32)
    rows[heads], rows[reading] = past.last, values
    times = np.empty((sensors + n, METRICS), np.int64)
    times[heads], times[reading] = past.last_ms, at_ms[:, None]
    measured = ~np.isnan(rows)
    measured[heads] = True
    return _Table(heads, reading, rows, times, measured)


def _moved(
    table: _Table, was: NDArray[np.float32], past_ms: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return, per row of the table and metric, when the value last moved by a step."""
    with np.errstate(invalid="ignore"):
        moved = np.rint(table.values / RESOLUTION) != np.rint(was / RESOLUTION)
    moved &= table.measured
    moved[table.past] = True
    times = table.at_ms.copy()
    times[table.past] = past_ms
    moved_ms: NDArray[np.int64] = times[_filled(moved), _EACH]
    return moved_ms


def _filled(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return, per row and column, the last marked row up to it."""
    rows = np.arange(len(marks))[:, None]
    return np.maximum.accumulate(np.where(marks, rows, 0), axis=0)
