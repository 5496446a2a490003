"""What goes wrong is labelled, kept apart, and noticed by exactly the bands that should."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.core import disturb
from firmware_sim.core.events import (
    EFFECTS,
    Agenda,
    Calendar,
    Cause,
    Event,
    Kind,
    contaminations,
    faults,
    plan,
)
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.readings import NO_EVENT, Readings, readings
from water.bands import bands, breaches
from wire.metric import Metric, impossible

START_MS = 1_767_268_800_000
DRINKING = Water(PROFILES[ProfileName.DRINKING], 3)
MEASURED = {*PROFILES[ProfileName.DRINKING].spreads, Metric.DISSOLVED_OXYGEN}
SEEN = [cause for cause in Cause if EFFECTS[cause].metric in MEASURED]


def healthy(sensor_ids: list[int], seconds: int) -> Readings:
    ids = np.tile(np.array(sensor_ids, np.int64), seconds)
    times = START_MS + np.repeat(np.arange(seconds, dtype=np.int64), len(sensor_ids)) * 1_000
    return readings(ids, times, DRINKING.values(ids, times))


def disturbed(cause: Cause, seconds: int = 30) -> Readings:
    event = Event(5, 2, cause, START_MS + 10_000, START_MS + 20_000)
    return disturb.disturbed(healthy([1, 2], seconds), [event], DRINKING)


def outside(made: Readings) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    return np.asarray(breaches(made.values.astype(np.float32), bands()))


def test_healthy_drinking_water_breaches_no_band_for_a_day() -> None:
    ids = np.repeat(np.arange(200), 96)
    times = START_MS + np.tile(np.arange(96) * 900_000, 200)
    values = DRINKING.values(ids, times).astype(np.float32)
    assert not breaches(values, bands()).any()


@pytest.mark.spec("D1")
@pytest.mark.parametrize("cause", [c for c in SEEN if EFFECTS[c].kind is Kind.CONTAMINATION])
def test_a_contamination_breaches_its_band_in_every_reading_or_not_at_all(cause: Cause) -> None:
    made = disturbed(cause)
    touched = made.label == 5
    assert touched.sum() == 10
    assert (made.sensor_ids[touched] == 2).all()
    metric = EFFECTS[cause].metric
    assert (outside(made)[touched, metric] == EFFECTS[cause].alerts).all()
    assert not np.delete(outside(made), metric, axis=1).any()
    assert not outside(made)[~touched].any()
    assert not impossible(made.values.astype(np.float32)).any()


@pytest.mark.parametrize("cause", [c for c in SEEN if EFFECTS[c].kind is Kind.FAULT])
def test_a_probe_fault_never_breaches_a_band_twice_running(cause: Cause) -> None:
    made = disturbed(cause)
    possible = ~impossible(made.values.astype(np.float32))
    breached = (outside(made) & possible).any(axis=1)
    assert breached.sum() <= 1


@pytest.mark.parametrize("cause", SEEN)
def test_what_no_event_touches_is_as_healthy_as_before(cause: Cause) -> None:
    before, after = healthy([1, 2], 30), disturbed(cause)
    rest = after.label == NO_EVENT
    same = np.isin(before.observed_at_ms, after.observed_at_ms[rest & (after.sensor_ids == 2)])
    untouched = (before.sensor_ids == 1) | same
    assert np.array_equal(before.values[untouched], after.values[rest], equal_nan=True)


def test_faults_look_like_what_they_are_called() -> None:
    stuck = disturbed(Cause.STUCK)
    assert len(set(stuck.values[stuck.label == 5, Metric.PH].tolist())) == 1
    assert len(disturbed(Cause.DROPOUT)) == 2 * 30 - 10
    impossibly = disturbed(Cause.IMPOSSIBLE)
    assert impossible(impossibly.values.astype(np.float32)).sum() == 10
    ours = healthy([1, 2], 30).values[:, Metric.PH]
    drift = disturbed(Cause.DRIFT).values[:, Metric.PH] - ours
    assert (np.diff(drift[drift < -0.001]) < 0.001).all()
    spike = disturbed(Cause.SPIKE).values[:, Metric.PH] - ours
    assert (np.abs(spike) > 1).sum() == 1


def test_disturbing_in_parts_is_disturbing_the_whole() -> None:
    events = [Event(0, 1, Cause.DRIFT, START_MS, START_MS + 9_000)]
    events += [Event(1, 2, Cause.SPIKE, START_MS + 3_000, START_MS + 9_000)]
    whole = healthy([1, 2], 12)
    blocks = [whole.where(np.arange(n, n + 4)) for n in range(0, 24, 4)]
    parts = [disturb.disturbed(block, events, DRINKING).values for block in blocks]
    at_once = disturb.disturbed(whole, events, DRINKING).values
    assert np.array_equal(np.concatenate(parts), at_once, equal_nan=True)


@given(
    every_ms=st.integers(200, 5_000),
    lasts_ms=st.integers(1, 5_000),
    sensors=st.lists(st.integers(0, 50), unique=True, max_size=8),
    seed=st.integers(0, 99),
)
def test_no_sensor_suffers_two_events_at_once_and_all_end_in_time(
    every_ms: int, lasts_ms: int, sensors: list[int], seed: int
) -> None:
    calendar = Calendar(START_MS, START_MS + 60_000, every_ms, lasts_ms)
    planned = list(plan(calendar, contaminations(MEASURED), sensors, seed, itertools.count(7)))
    assert [event.number for event in planned] == list(range(7, 7 + len(planned)))
    free_at = dict.fromkeys(sensors, 0)
    for event in planned:
        assert event.end_ms <= START_MS + 60_000
        assert event.start_ms >= free_at[event.sensor_id]
        free_at[event.sensor_id] = event.end_ms
    assert bool(planned) == (bool(sensors) and lasts_ms <= 60_000)


def test_a_cause_comes_back_to_a_sensor_only_after_all_others() -> None:
    causes = contaminations(MEASURED)
    planned = plan(Calendar(0, 10_000_000, 1_000, 500), causes, [1, 2, 3], 1, itertools.count())
    of_one = [event.cause for event in planned if event.sensor_id == 1]
    for low in range(0, len(of_one) - len(causes), len(causes)):
        assert set(of_one[low : low + len(causes)]) == set(causes)


def test_both_kinds_have_something_to_offer() -> None:
    assert len(contaminations(MEASURED)) >= 5
    assert len(faults(MEASURED)) == 6


def test_an_agenda_meets_every_event_once_and_in_time_however_long_the_run() -> None:
    numbers = itertools.count()
    for_ever = Calendar(0, 10**15, 1_000, 3_000)
    causes = contaminations(MEASURED)
    agenda = Agenda(
        plan(for_ever, causes, list(range(9)), 1, numbers),
        plan(
            for_ever,
            [cause for cause in faults(MEASURED) if not EFFECTS[cause].lasts_ms_min],
            list(range(9, 18)),
            1,
            numbers,
        ),
    )
    met: list[Event] = []
    for low in range(0, 60_000, 250):
        begun = agenda.advance(low, low + 249)
        assert all(event.start_ms <= low + 249 for event in begun)
        assert all(event.end_ms > low for event in agenda.at_work)
        met += begun
        current = [event for event in met if event.start_ms <= low + 249 and event.end_ms > low]
        assert agenda.at_work == current
    assert len({event.number for event in met}) == len(met) == 2 * 60


def test_a_fault_lasts_as_long_as_it_takes_to_find_it_or_does_not_happen() -> None:
    need_ms = EFFECTS[Cause.STUCK].lasts_ms_min
    for room_ms, times in ((need_ms - 1, 0), (need_ms, 1)):
        calendar = Calendar(START_MS, START_MS + room_ms, need_ms, 1_000)
        planned = list(plan(calendar, [Cause.STUCK], [1], 0, itertools.count()))
        assert [event.end_ms - event.start_ms for event in planned] == [need_ms] * times
