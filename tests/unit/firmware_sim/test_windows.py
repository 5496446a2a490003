"""The oracle compares what a window says with what was measured in it, not only how often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.held import Held, emitted
from edge_agent.core.rows import Rows
from firmware_sim.core.comparison import Made, Refused, Stored, Verdict
from firmware_sim.core.windows import compare_windows
from wire.codec import quantise
from wire.metric import METRICS, RESOLUTION, Metric, impossible
from wire.quality import Quality

WINDOW_MS = 10_000
NOTHING = Refused(*(np.empty(0, np.int64) for _ in range(3)))

at = st.tuples(st.integers(0, 2), st.integers(0, 25).map(lambda second: 7 + 1_000 * second))
ph = st.sampled_from([np.nan, 6.123, 7.0, 8.9, 14.9])  # the last one is impossible
oxygen = st.sampled_from([np.nan, 0.01, 8.55, 109.8])
sent_readings = st.lists(
    st.tuples(at, ph, oxygen, st.booleans()), min_size=1, max_size=30, unique_by=lambda one: one[0]
)
Sent = list[tuple[tuple[int, int], float, float, bool]]


def made(of: Sent, owed: bool = True) -> Made:
    values = np.full((len(of), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = [one[1] for one in of]
    values[:, Metric.DISSOLVED_OXYGEN] = [one[2] for one in of]
    columns = np.array([one[0] for one in of], np.int64).reshape(-1, 2)
    return Made(columns[:, 0], columns[:, 1], values, np.full(len(of), owed))


def as_a_hub_sends(of: Sent) -> Stored:
    """Return the rows of a hub; who is marked comes after the window of its kind was emitted."""
    ours, n = made(of), len(of)
    legal = np.where(impossible(ours.values), np.float32(np.nan), ours.values)
    late = np.array([one[3] for one in of])
    quality = np.where(late, np.int16(Quality.LATE), np.int16(0))
    rows = Rows(ours.sensor_ids, ours.observed_at_ms, legal, quality, np.ones(n, np.int32))
    nobody = np.zeros(n, np.intp)
    sent = emitted(Held(rows, nobody, nobody.astype(np.int64), late), WINDOW_MS)
    return Stored(
        sent.sensor_ids,
        sent.observed_at_ms * 1_000,
        quantise(sent.values),
        sent.samples.astype(np.int64),
    )


def judged(ours: Made, rows: Stored, refused: Refused = NOTHING) -> Verdict:
    return compare_windows(ours, rows, refused, WINDOW_MS)


def steady(values: list[float]) -> Sent:
    """Return a sensor's readings of one window, a second apart."""
    return [((1, 10_000 + 1_000 * second), ph, 8.0, False) for second, ph in enumerate(values)]


@given(sent_readings)
@settings(max_examples=200, deadline=None)
def test_what_a_hub_makes_of_its_readings_is_clean(of: Sent) -> None:
    verdict = judged(made(of), as_a_hub_sends(of))
    refused = int(impossible(made(of).values).sum())
    assert verdict == Verdict(len(of), len(of), refused_values=refused)


@given(sent_readings, st.data())
@settings(max_examples=100, deadline=None)
def test_a_value_a_step_away_from_the_mean_conflicts(of: Sent, data: st.DataObject) -> None:
    rows = as_a_hub_sends(of)
    row = data.draw(st.integers(0, len(rows.sensor_ids) - 1))
    metric = data.draw(st.sampled_from([Metric.PH, Metric.DISSOLVED_OXYGEN]))
    value, step = rows.values[row, metric], np.float32(RESOLUTION[metric])
    wrong = [1.0, np.nan][not np.isnan(value)]
    rows.values[row, metric] = data.draw(
        st.sampled_from([wrong, value + step * np.float32(1.01), value - step * np.float32(1.01)])
        if not np.isnan(value)
        else st.just(wrong)
    )
    verdict = judged(made(of), rows)
    assert (verdict.missing, verdict.extra, verdict.conflicting) == (0, 0, 1)
    told = int(rows.sensor_ids[row]), int(rows.observed_at_us[row]) // 1_000
    assert verdict.examples == (("conflicting", *told),)


def test_ph_3_where_ten_readings_said_7_is_a_conflict() -> None:
    of = steady([7.0] * 10)
    rows = as_a_hub_sends(of)
    assert judged(made(of), rows).conflicting == 0
    rows.values[0, Metric.PH] = 3.0
    assert judged(made(of), rows).conflicting == 1


@given(sent_readings, st.data())
@settings(max_examples=200, deadline=None)
def test_readings_lost_before_a_commit_leave_no_conflict_behind(
    of: Sent, data: st.DataObject
) -> None:
    lost = data.draw(st.lists(st.sampled_from(of), unique=True, max_size=len(of) - 1))
    rest = [one for one in of if one not in lost]
    verdict = judged(made(of, owed=False), as_a_hub_sends(rest))
    assert (verdict.missing, verdict.extra, verdict.conflicting) == (0, 0, 0)
    assert verdict.lost_before_commit == len(of) - len(rest)


def test_a_row_of_unknown_readings_lies_between_the_least_and_the_greatest() -> None:
    of = steady([7.0, 7.1, 7.2, 7.3])
    rows = as_a_hub_sends(of[:3])
    for value, conflicts in ((7.0, 0), (7.3, 0), (6.998, 1), (7.302, 1), (np.nan, 1)):
        rows.values[0, Metric.PH] = value
        assert judged(made(of, owed=False), rows).conflicting == conflicts, value


def test_an_impossible_value_in_a_mean_conflicts_and_is_not_counted_as_refused() -> None:
    of = steady([7.0, 14.9])
    rows = as_a_hub_sends(of)
    verdict = judged(made(of), rows)
    assert (verdict.conflicting, verdict.refused_values) == (0, 1)
    rows.values[0, Metric.PH] = 10.95
    verdict = judged(made(of), rows)
    assert (verdict.conflicting, verdict.refused_values) == (1, 0)


def test_a_late_row_is_its_own_reading_and_none_of_the_windows() -> None:
    of = [*steady([7.0, 7.2]), ((1, 15_000), 9.0, 8.0, True)]
    rows = as_a_hub_sends(of)
    assert judged(made(of), rows).conflicting == 0
    rows.values[:, Metric.PH] = [7.733, 9.0]  # the late one counted in the mean as well
    assert judged(made(of), rows).conflicting == 1


@pytest.mark.parametrize("alone", [11_000, 13_000])
def test_what_was_refused_alone_is_not_in_the_mean(alone: int) -> None:
    of = steady([7.0, 7.2, 7.0, 8.9])
    rest = [one for one in of if one[0][1] != alone]
    refused = Refused(np.array([1]), np.array([alone]), np.array([1]))
    rows = as_a_hub_sends(rest)
    verdict = judged(made(of), rows, refused)
    assert (verdict.missing, verdict.refused, verdict.conflicting) == (0, 1, 0)
    rows.values[0, Metric.PH] = quantise(as_a_hub_sends(of).values)[0, Metric.PH]
    assert judged(made(of), rows, refused).conflicting == 1


def test_a_row_at_a_time_nobody_measured_conflicts() -> None:
    of = steady([7.0, 7.0])
    rows = as_a_hub_sends(of)
    rows.observed_at_us[0] += 1
    verdict = judged(made(of), rows)
    assert (verdict.missing, verdict.extra, verdict.conflicting) == (0, 0, 1)
