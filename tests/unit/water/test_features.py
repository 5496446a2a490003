"""The baselines a reading is held against: causal, splittable, and as a slow oracle has them."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from water.features import JUDGED, RESIDUAL_MAX, Baselines, Parameters, blank, observe
from wire.metric import METRICS, SPECS, Metric

pytestmark = pytest.mark.spec("I11", "D2", "K3")

MINUTE_MS = 60_000
SOON = Parameters(
    memory_ms=(2 * MINUTE_MS, 20 * MINUTE_MS), accept_ms=3 * MINUTE_MS, warm_readings=3, shown=2
)


@dataclass(eq=False)
class Stream:
    """Readings by sensor, then time, as ``observe`` takes them."""

    whose: NDArray[np.intp]
    at_ms: NDArray[np.int64]
    values: NDArray[np.float32]

    def part(self, which: NDArray[np.bool_]) -> "Stream":
        return Stream(self.whose[which], self.at_ms[which], self.values[which])


def seen(stream: Stream, sensors: int, told: Parameters = SOON) -> NDArray[np.float32]:
    return observe(blank(sensors, len(told.memory_ms)), *columns(stream), told).features


def columns(
    stream: Stream,
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]:
    return stream.whose, stream.at_ms, stream.values


def later(
    baselines: Baselines, stream: Stream, told: Parameters = SOON
) -> tuple[NDArray[np.float32], Baselines]:
    """Hold some sensors' readings against baselines of all; bring those up to date."""
    places, whose = np.unique(stream.whose, return_inverse=True)
    found = observe(baselines.take(places), whose, stream.at_ms, stream.values, told)
    baselines.put(places, found.after)
    return found.features, baselines


def series(values: list[float], metric: Metric = Metric.PH, every_ms: int = MINUTE_MS) -> Stream:
    """Return one sensor's readings of one metric."""
    n = len(values)
    matrix = np.full((n, METRICS), np.nan, np.float32)
    matrix[:, metric] = values
    return Stream(np.zeros(n, np.intp), np.arange(n, dtype=np.int64) * every_ms, matrix)


@st.composite
def streams(draw: st.DrawFn, sensors: int = 3, most: int = 12) -> Stream:
    """Draw a few sensors: calm values, jumps that last, gaps, at uneven times."""
    metrics = [Metric.PH, Metric.CONDUCTIVITY, Metric.ORP, Metric.FLOW]
    levels = np.array([7.0, 7.01, 7.04, 7.1, 9.0, 9.5, np.nan])
    parts = []
    for sensor in range(sensors):
        n = draw(st.integers(1, most))
        gaps = draw(arrays(np.int64, n, elements=st.integers(1, 6 * MINUTE_MS)))
        which = draw(arrays(np.int8, (n, len(metrics)), elements=st.integers(0, len(levels) - 1)))
        matrix = np.full((n, METRICS), np.nan, np.float32)
        matrix[:, metrics] = levels[which]
        parts.append(Stream(np.full(n, sensor), np.cumsum(gaps), matrix))
    return Stream(
        np.concatenate([part.whose for part in parts]),
        np.concatenate([part.at_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


@dataclass
class SlowMetric:
    """The oracle: one metric of one sensor at one time constant, a number at a time."""

    told: Parameters
    memory_ms: int
    floor: float
    mean: float = 0.0
    scale: float = 0.0
    since_ms: int | None = None
    last_ms: int = 0
    count: int = 0

    def away(self, at_ms: int, value: float) -> float | None:
        """Return the residual if the metric is warm, and learn."""
        if not self.count:
            self.mean = value
        size = max(self.scale, self.floor)
        residual, warm = abs(value - self.mean) / size, self.count >= self.told.warm_readings
        share = 1 / (self.count + 1)
        if self.count:
            share = max(share, -math.expm1(-(at_ms - self.last_ms) / self.memory_ms))
        self.last_ms, self.count = at_ms, self.count + 1
        if warm and residual > self.told.freeze_at:
            self.since_ms = at_ms if self.since_ms is None else self.since_ms
            if at_ms - self.since_ms >= self.told.accept_ms:
                self.mean, self.scale, self.since_ms = value, 2 * size, None
            return residual
        distance = abs(value - self.mean)
        self.mean += share * (value - self.mean)
        self.scale += share * (distance - self.scale)
        self.since_ms = None
        return residual if warm else None


@dataclass
class SlowSensor:
    """The oracle for one sensor."""

    told: Parameters
    metrics: list[list[SlowMetric]] = field(init=False)

    def __post_init__(self) -> None:
        floors = [self.told.steps_min * SPECS[Metric(m)].resolution for m in JUDGED]
        self.metrics = [[SlowMetric(self.told, k, f) for f in floors] for k in self.told.memory_ms]

    def features(self, at_ms: int, values: list[float]) -> list[float]:
        found: list[float] = []
        for at_constant in self.metrics:
            pairs = zip(at_constant, (values[m] for m in JUDGED), strict=True)
            away = [metric.away(at_ms, v) for metric, v in pairs if not math.isnan(v)]
            size = sorted((min(r, RESIDUAL_MAX) for r in away if r is not None), reverse=True)
            strength = math.sqrt(sum(r * r for r in size) / len(size)) if size else math.nan
            shown = [*size, *[0.0] * self.told.shown][: self.told.shown]
            found += [math.log1p(r) for r in (*shown, strength)]
        return [math.nan] * len(found) if math.isnan(found[-1]) else found


@settings(max_examples=50)
@given(streams())
def test_features_are_those_of_an_oracle_that_takes_one_number_at_a_time(stream: Stream) -> None:
    oracle = [SlowSensor(SOON) for _ in range(3)]
    wanted = [
        oracle[sensor].features(at_ms, values)
        for sensor, at_ms, values in zip(
            stream.whose.tolist(), stream.at_ms.tolist(), stream.values.tolist(), strict=True
        )
    ]
    np.testing.assert_allclose(seen(stream, 3), np.array(wanted), rtol=1e-5, atol=1e-6)


@settings(max_examples=50)
@given(streams(), st.integers(0, 60 * MINUTE_MS))
def test_a_stream_split_anywhere_gives_the_same_features(stream: Stream, cut_ms: int) -> None:
    whole, baselines = seen(stream, 3), blank(3, 2)
    early = stream.at_ms < cut_ms
    again = np.empty_like(whole)
    again[early], baselines = later(baselines, stream.part(early))
    again[~early], baselines = later(baselines, stream.part(~early))
    np.testing.assert_array_equal(again, whole)


@settings(max_examples=50)
@given(streams(), st.integers(0, 60 * MINUTE_MS), st.floats(0, 14, width=32))
def test_nothing_that_comes_later_changes_a_feature(
    stream: Stream, cut_ms: int, other: float
) -> None:
    early = stream.at_ms < cut_ms
    changed = Stream(stream.whose, stream.at_ms, stream.values.copy())
    changed.values[~early] = other
    np.testing.assert_array_equal(seen(changed, 3)[early], seen(stream, 3)[early])


@settings(max_examples=50)
@given(streams(), st.data())
def test_what_was_not_measured_leaves_no_trace(stream: Stream, data: st.DataObject) -> None:
    empty = np.array(data.draw(st.lists(st.booleans(), min_size=len(stream.whose))))
    empty = empty[: len(stream.whose)]
    silenced = Stream(stream.whose, stream.at_ms, stream.values.copy())
    silenced.values[empty] = np.nan
    found = seen(silenced, 3)
    assert np.isnan(found[empty]).all()
    baselines = blank(3, 2)
    without, _ = later(baselines, stream.part(~empty))
    np.testing.assert_array_equal(found[~empty], without)


@settings(max_examples=50)
@given(streams())
def test_sensors_do_not_see_each_other(stream: Stream) -> None:
    alone = [seen(stream.part(stream.whose == sensor), 3) for sensor in range(3)]
    np.testing.assert_array_equal(seen(stream, 3), np.concatenate(alone))


def test_which_probe_it_is_makes_no_difference() -> None:
    stream = series([7.0, 7.1, 7.0, 7.1, 7.0, 8.0])
    swapped = Stream(stream.whose, stream.at_ms, stream.values.copy())
    swapped.values[:, Metric.TURBIDITY] = stream.values[:, Metric.PH]
    swapped.values[:, Metric.PH] = np.nan
    np.testing.assert_array_equal(seen(swapped, 1), seen(stream, 1))


@pytest.mark.parametrize("metric", [Metric.TEMPERATURE, Metric.FLOW, Metric.WATER_LEVEL])
def test_weather_and_pumps_are_not_judged(metric: Metric) -> None:
    assert np.isnan(seen(series([1.0] * 9 + [9.0], metric), 1)).all()


def test_a_sensor_is_judged_from_its_first_warm_reading_on() -> None:
    found = np.isnan(seen(series([7.0] * 5), 1)).all(axis=1)
    assert found.tolist() == [True, True, True, False, False]


def test_a_residual_at_the_edge_is_learnt_and_one_beyond_it_is_not() -> None:
    """Four scales of four steps of a metric that binary numbers hold exactly."""
    told = Parameters(memory_ms=(MINUTE_MS,), warm_readings=1, steps_min=2.5, freeze_at=4.0)
    floor = told.steps_min * SPECS[Metric.CONDUCTIVITY].resolution
    assert floor == 0.25
    after = []
    for value in (101.0, 101.0625):
        stream = series([100.0, value], Metric.CONDUCTIVITY)
        baselines = observe(blank(1, 1), *columns(stream), told).after
        after.append(baselines.mean[0, 0, list(JUDGED).index(Metric.CONDUCTIVITY)])
    assert after[0] > 100.5
    assert after[1] == 100.0


@pytest.mark.parametrize(("minutes", "accepted"), [(3, False), (4, True)])
def test_a_new_level_is_taken_for_granted_after_its_time_and_not_before(
    minutes: int, accepted: bool
) -> None:
    calm, new = [7.0] * 5, [9.0] * minutes
    found = seen(series(calm + new + [9.0]), 1)
    assert (found[len(calm) : -1, 0] > np.log1p(4)).all()
    assert bool(found[-1, 0] == 0) is accepted


def test_a_new_level_doubles_the_scale_and_water_that_stays_wild_widens_it_again() -> None:
    calm, metric = [7.0, 7.02] * 5, list(JUDGED).index(Metric.PH)
    wild = [9.0] * 4 + [12.0] * 4
    scale = [
        observe(blank(1, 2), *columns(series((calm + wild)[:n])), SOON).after.scale[0, 1, metric]
        for n in (len(calm), len(calm) + 4, len(calm) + 8)
    ]
    floor = SOON.steps_min * SPECS[Metric.PH].resolution
    assert scale[0] > floor
    assert scale[1:] == [2 * scale[0], 4 * scale[0]]


@settings(max_examples=20)
@given(st.floats(1, 1e5))
def test_no_feature_leaves_its_range(jump: float) -> None:
    found = seen(series([7.0] * 5 + [7.0 + jump]), 1)[-1]
    assert ((found >= 0) & (found <= np.float32(np.log1p(RESIDUAL_MAX)))).all()


def test_room_for_more_sensors_keeps_what_is_known() -> None:
    stream = series([7.0, 7.1, 7.0])
    known = observe(blank(1, 2), *columns(stream), SOON).after
    more = known.grown(5)
    assert len(more) >= 5
    np.testing.assert_array_equal(more.take(np.array([0])).mean, known.mean)
    assert (more.seen[1:] == 0).all()
