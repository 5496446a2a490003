"""The oracle names every difference: what is lost, doubled, changed or moved."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.core.alerting import Alert, Expected, compare_alerts
from firmware_sim.core.comparison import (
    Made,
    Refused,
    Stored,
    Verdict,
    compare_rows,
)
from firmware_sim.core.events import Kind
from firmware_sim.core.windows import compare_windows
from wire.metric import METRICS, RESOLUTION, Metric

Key = tuple[int, int]

keys = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 60).map(lambda second: 7 + 1_000 * second)),
    min_size=1,
    max_size=40,
    unique=True,
)


def value_of(key: Key) -> float:
    return 6.5 + (key[0] * 31 + key[1]) % 1_000 / 1_000


def made(of: list[Key], owed: bool = True) -> Made:
    values = np.full((len(of), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = [value_of(key) for key in of]
    columns = np.array(of, np.int64).reshape(-1, 2)
    return Made(columns[:, 0], columns[:, 1], values, np.full(len(of), owed))


def stored(of: list[Key]) -> Stored:
    copy = made(of)
    return Stored(
        copy.sensor_ids, copy.observed_at_ms * 1_000, copy.values, np.ones(len(of), np.int64)
    )


def refused(of: list[Key]) -> Refused:
    columns = np.array(of, np.int64).reshape(-1, 2)
    return Refused(columns[:, 0], columns[:, 1], np.ones(len(of), np.int64))


def clean(of: list[Key]) -> Verdict:
    return Verdict(readings_sent=len(of), readings_stored=len(of))


def wrong(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.missing, verdict.extra, verdict.conflicting


@given(keys)
def test_the_same_readings_in_another_order_are_clean(of: list[Key]) -> None:
    again = sorted(of, key=lambda key: hash((key, 7)))
    assert compare_rows(made(of), stored(again), refused([])) == clean(of)
    assert compare_windows(made(of), stored(again), refused([]), 10_000) == clean(of)


@given(keys, st.data())
def test_each_lost_reading_is_missing_and_named(of: list[Key], data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(of))
    verdict = compare_rows(made(of), stored([key for key in of if key != lost]), refused([]))
    assert wrong(verdict) == (1, 0, 0)
    assert verdict.examples == (("missing", *lost),)
    windowed = compare_windows(made(of), stored([k for k in of if k != lost]), refused([]), 10_000)
    assert wrong(windowed) == (1, 0, 0)
    assert windowed.examples == (("missing", lost[0], lost[1] // 10_000 * 10_000),)


@given(keys, st.data())
def test_each_invented_reading_is_extra_and_named(of: list[Key], data: st.DataObject) -> None:
    invented = data.draw(st.sampled_from(of))
    rest = [key for key in of if key != invented]
    verdict = compare_rows(made(rest), stored(of), refused([]))
    assert wrong(verdict) == (0, 1, 0)
    assert verdict.examples == (("extra", *invented),)
    assert wrong(compare_windows(made(rest), stored(of), refused([]), 10_000)) == (0, 1, 0)


@given(keys, st.data())
def test_each_moved_time_is_one_missing_and_one_extra(of: list[Key], data: st.DataObject) -> None:
    rows = stored(of)
    rows.observed_at_us[data.draw(st.integers(0, len(of) - 1))] += 1  # not even a microsecond
    assert wrong(compare_rows(made(of), rows, refused([]))) == (1, 1, 0)


@given(keys, st.data(), st.sampled_from([-1.0, 1.0]))
def test_each_changed_value_conflicts(of: list[Key], data: st.DataObject, sign: float) -> None:
    row = data.draw(st.integers(0, len(of) - 1))
    step = np.float32(sign * RESOLUTION[Metric.PH])
    rows = stored(of)
    rows.values[row, Metric.PH] += step * np.float32(0.45)
    assert wrong(compare_rows(made(of), rows, refused([]))) == (0, 0, 0)
    rows.values[row, Metric.PH] += step * np.float32(0.15)
    assert wrong(compare_rows(made(of), rows, refused([]))) == (0, 0, 1)


@given(keys, st.data())
def test_a_value_that_vanished_or_appeared_conflicts(of: list[Key], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(of) - 1))
    rows = stored(of)
    rows.values[row, Metric.PH] = np.nan
    assert wrong(compare_rows(made(of), rows, refused([]))) == (0, 0, 1)
    rows = stored(of)
    rows.values[row, Metric.FLOW] = 0
    assert wrong(compare_rows(made(of), rows, refused([]))) == (0, 0, 1)


@given(keys, st.data())
def test_a_reading_counted_twice_is_not_clean(of: list[Key], data: st.DataObject) -> None:
    rows = stored(of)
    rows.samples[data.draw(st.integers(0, len(of) - 1))] += 1
    assert wrong(compare_rows(made(of), rows, refused([]))) == (0, 0, 1)
    assert wrong(compare_windows(made(of), rows, refused([]), 10_000)) == (0, 1, 0)


@given(keys, st.data())
def test_what_is_refused_on_record_is_not_missing(of: list[Key], data: st.DataObject) -> None:
    away = data.draw(st.lists(st.sampled_from(of), unique=True))
    rest = [key for key in of if key not in away]
    expected = Verdict(readings_sent=len(of), readings_stored=len(rest), refused=len(away))
    assert compare_rows(made(of), stored(rest), refused(away + away)) == expected
    assert compare_windows(made(of), stored(rest), refused(away), 10_000) == expected


@given(keys, st.data())
def test_what_no_sensor_kept_is_lost_not_missing(of: list[Key], data: st.DataObject) -> None:
    lost = data.draw(st.lists(st.sampled_from(of), unique=True))
    rest = [key for key in of if key not in lost]
    forgetful = made(of, owed=False)
    for verdict in (
        compare_rows(forgetful, stored(rest), refused([])),
        compare_windows(forgetful, stored(rest), refused([]), 10_000),
    ):
        assert wrong(verdict) == (0, 0, 0)
        assert verdict.lost_before_commit == len(lost)


def test_an_impossible_value_must_be_absent_and_is_counted() -> None:
    ours = made([(1, 1_000)])
    ours.values[0, Metric.DISSOLVED_OXYGEN] = 109.8
    verdict = compare_rows(ours, stored([(1, 1_000)]), refused([]))
    assert wrong(verdict) == (0, 0, 0)
    assert verdict.refused_values == 1
    rows = stored([(1, 1_000)])
    rows.values[0, Metric.DISSOLVED_OXYGEN] = 60.0
    assert wrong(compare_rows(ours, rows, refused([]))) == (0, 0, 1)


def test_nothing_made_and_nothing_stored_is_clean() -> None:
    assert compare_rows(made([]), stored([]), refused([])) == Verdict()
    assert compare_windows(made([]), stored([]), refused([]), 10_000) == Verdict()


def test_verdicts_on_groups_add_up() -> None:
    one = compare_rows(made([(1, 0)]), stored([]), refused([]))
    other = compare_rows(made([(2, 0)]), stored([(2, 0), (3, 0)]), refused([]))
    assert one + other == Verdict(
        2, 2, missing=1, extra=1, examples=(("missing", 1, 0), ("extra", 3, 0))
    )


SLUG = Expected(1, "ph_level", 10_000, 20_000, alerts=True, readings=10)
ALERT = Alert(1, 1, "ph_level", 12_000, 19_000)


def test_an_alert_for_a_contamination_is_as_expected() -> None:
    verdict = compare_alerts([SLUG], [ALERT])
    assert (verdict.alerts_expected, verdict.alerts) == (1, 1)
    assert (verdict.alerts_missing, verdict.alerts_extra) == (0, 0)


def test_an_alert_elsewhere_or_at_another_time_is_missing_there_and_extra_here() -> None:
    for stray in (
        replace(ALERT, sensor_id=2),
        replace(ALERT, metric="turbidity"),
        replace(ALERT, opened_ms=20_000, last_ms=21_000),
        replace(ALERT, opened_ms=1_000, last_ms=9_999),
    ):
        verdict = compare_alerts([SLUG], [stray])
        assert (verdict.alerts_missing, verdict.alerts_extra) == (1, 1)


def test_an_alert_that_stayed_open_covers_the_contamination_it_merged() -> None:
    later = replace(SLUG, start_ms=50_000, end_ms=60_000)
    verdict = compare_alerts([SLUG, later], [replace(ALERT, last_ms=58_000)])
    assert (verdict.alerts_expected, verdict.alerts_missing, verdict.alerts_extra) == (2, 0, 0)


def test_a_contamination_too_short_for_the_rule_is_neither_expected_nor_surprising() -> None:
    short = replace(SLUG, readings=2)
    assert compare_alerts([short], []).alerts_expected == 0
    assert compare_alerts([short], [ALERT]).alerts_extra == 0
    assert compare_alerts([replace(SLUG, readings=3)], []).alerts_missing == 1


BROKEN = Expected(1, "ph_level", 10_000, 20_000, alerts=False, readings=10, kind=Kind.FAULT)
FAULTY = replace(ALERT, kind=Kind.FAULT)


def test_an_alert_about_a_probe_is_explained_by_a_fault_of_it_and_by_nothing_else() -> None:
    assert compare_alerts([BROKEN], [FAULTY]).alerts_extra == 0
    assert compare_alerts([BROKEN], [replace(FAULTY, metric="any")]).alerts_extra == 0
    assert compare_alerts([BROKEN], []).alerts_missing == 0
    for events, alert in (
        ([], FAULTY),
        ([SLUG], FAULTY),
        ([BROKEN], ALERT),
        ([BROKEN], replace(FAULTY, sensor_id=2)),
        ([BROKEN], replace(FAULTY, metric="turbidity")),
        ([BROKEN], replace(FAULTY, opened_ms=20_000, last_ms=21_000)),
    ):
        assert compare_alerts(events, [alert]).alerts_extra == 1, (events, alert)


def test_what_no_band_can_notice_is_not_expected() -> None:
    unseen = replace(SLUG, alerts=False)
    assert compare_alerts([unseen], []).alerts_missing == 0
