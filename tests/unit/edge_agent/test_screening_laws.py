"""What the screens mark, against a slow judge that walks reading by reading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from water.screening import Plausible, blank, plausible, screen
from wire.metric import METRICS, RESOLUTION, Metric
from wire.quality import Quality

PH = Metric.PH
PROBE = plausible(flat_ms=60_000)


def judged(ph: list[float], every_ms: int = 1_000, probe: Plausible = PROBE) -> list[int]:
    """Return the quality of one sensor's readings of pH, given all at once."""
    values = np.full((len(ph), METRICS), np.nan, np.float32)
    values[:, PH] = ph
    times = np.arange(len(ph), dtype=np.int64) * every_ms
    found = screen(blank(1), np.zeros(len(ph), np.intp), times, values, probe)
    return [int(mark) for mark in found.quality]


def test_calm_water_is_not_marked() -> None:
    assert judged([7.0, 7.01, 7.02, 7.01, 7.0]) == [0] * 5


def test_value_that_jumps_and_comes_straight_back_is_a_spike() -> None:
    marks = judged([7.0, 7.0, 9.0, 7.0])
    assert [bool(m & Quality.SPIKE) for m in marks] == [False, False, False, True]
    assert [bool(m & Quality.RATE) for m in marks] == [False, False, True, True]


def test_value_that_jumps_and_stays_is_no_spike() -> None:
    assert not any(m & Quality.SPIKE for m in judged([7.0, 7.0, 9.0, 9.0, 9.0]))


def test_rate_is_judged_by_the_time_between_readings_edges_from_both_sides() -> None:
    assert judged([7.0, 7.5]) == [0, 0]
    assert judged([7.0, 7.51]) == [0, Quality.RATE]
    assert judged([7.0, 9.9], every_ms=6_000) == [0, 0]


def test_probe_that_does_not_move_by_a_step_is_flat_once_its_time_is_over() -> None:
    marks = judged([7.0] * 63)
    assert marks == [0] * 61 + [Quality.FLAT] * 2
    assert judged([7.0 + 0.001 * (i // 30) for i in range(120)]) == [0] * 120


def test_flat_line_is_suspicious_only_when_it_becomes_one() -> None:
    values = np.full((63, METRICS), np.nan, np.float32)
    values[:, PH] = 7.0
    found = screen(
        blank(1), np.zeros(63, np.intp), np.arange(63, dtype=np.int64) * 1_000, values, PROBE
    )
    assert np.flatnonzero(found.suspicious).tolist() == [61]


def came_back(before: tuple[float, int], last: float, value: float, t: int) -> bool:
    out, back = abs(last - before[0]), abs(value - last)
    home = abs(value - before[0]) < PROBE.spike[PH] / 2
    soon = t - before[1] <= PROBE.spike_ms
    return bool(min(out, back) > PROBE.spike[PH] and home and soon)


def slow(ph: list[float], at_ms: list[int]) -> list[int]:
    """Judge one sensor's pH one reading after another."""
    marks: list[int] = []
    past: list[tuple[float, int]] = []
    moved = 0
    for value, t in zip(np.array(ph, np.float32), at_ms, strict=True):
        mark = 0
        if not np.isnan(value):
            if not past or np.rint(value / RESOLUTION[PH]) != np.rint(past[-1][0] / RESOLUTION[PH]):
                moved = t
            if past:
                last, then = past[-1]
                if abs(value - last) > PROBE.rate_per_s[PH] * max(t - then, 1_000) / 1_000:
                    mark |= Quality.RATE
            if len(past) > 1 and came_back(past[-2], past[-1][0], value, t):
                mark |= Quality.SPIKE
            if t - moved > PROBE.flat_ms[PH]:
                mark |= Quality.FLAT
            past.append((value, t))
        marks.append(int(mark))
    return marks


PHS = st.one_of(st.just(float("nan")), st.integers(60, 100).map(lambda n: n / 10), st.just(7.0))
SERIES = st.lists(st.tuples(PHS, st.integers(1, 40_000)), min_size=1, max_size=30)


@pytest.mark.spec("I11")
@settings(max_examples=150, deadline=None)
@given(sensors=st.lists(SERIES, min_size=1, max_size=4), cut=st.integers(0, 30))
def test_screen_agrees_with_a_slow_judge_however_readings_are_cut_into_calls(
    sensors: list[list[tuple[float, int]]], cut: int
) -> None:
    past = blank(len(sensors))
    found: list[list[int]] = [[] for _ in sensors]
    times = [np.cumsum([gap for _, gap in series]).tolist() for series in sensors]
    for low, high in ((0, cut), (cut, 99)):
        parts = [(i, range(low, min(high, len(s)))) for i, s in enumerate(sensors)]
        parts = [(i, part) for i, part in parts if len(part)]
        if not parts:
            continue
        index = np.array([i for i, _ in parts], np.intp)
        whose = np.repeat(np.arange(len(parts)), [len(part) for _, part in parts])
        values = np.full((len(whose), METRICS), np.nan, np.float32)
        values[:, PH] = [sensors[i][k][0] for i, part in parts for k in part]
        at_ms = np.array([times[i][k] for i, part in parts for k in part], np.int64)
        screened = screen(past.take(index), whose, at_ms, values, PROBE)
        past.put(index, screened.past)
        for mark, row in zip(screened.quality.tolist(), whose.tolist(), strict=True):
            found[parts[row][0]].append(mark)
    expected = [slow([value for value, _ in series], times[i]) for i, series in enumerate(sensors)]
    assert found == expected
