"""Laws of detection over one hub's rows: what is found, when, and what never is."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.core.detect import AHEAD_MS_MAX, Detector
from cloud.core.detect_bands import DEFAULT, BandBook, StoredBand
from cloud.core.detect_rows import Rows, as_rows
from cloud.core.detect_state import HubState
from tests.support.builders import NOON
from tests.support.detect import judged, ph_rows
from water.bands import BandRow
from water.explain import recompute, sentence
from water.finding import Cause, Finding
from wire.ids import UnixMs
from wire.metric import METRICS, Metric
from wire.quality import Quality

GOOD, HIGH, LOW = 7.0, 9.31, 5.0
PATIENT = settings(deadline=None, max_examples=60)  # machines differ, laws do not


def causes(found: list[Finding]) -> list[tuple[str, bool]]:
    return [(str(f.cause), f.ended) for f in found]


def seconds(found: list[Finding]) -> list[int]:
    return [(f.observed_at_ms - NOON) // 1_000 for f in found]


@pytest.mark.spec("D1")
def test_two_of_three_breaches_begin_a_contamination_and_two_of_three_clear_ones_end_it() -> None:
    found = judged(ph_rows([GOOD, HIGH, GOOD, HIGH, HIGH, GOOD, GOOD, GOOD]))
    highs = [f for f in found if f.cause is Cause.HIGH]
    assert causes(highs) == [("out_of_band_high", False), ("out_of_band_high", True)]
    assert seconds(highs) == [3, 6]


def test_both_sides_of_a_band_are_watched() -> None:
    assert causes(judged(ph_rows([LOW, LOW]))) == [("out_of_band_low", False)]


def test_the_edges_belong_to_the_band() -> None:
    assert judged(ph_rows([8.5] * 5)) == []
    assert judged(ph_rows([6.5] * 5)) == []
    assert judged(ph_rows([8.6, 8.5, 8.5])) == []
    assert judged(ph_rows([6.4, 6.5, 6.5])) == []
    assert causes(judged(ph_rows([8.501] * 2))) == [("out_of_band_high", False)]
    assert causes(judged(ph_rows([6.499] * 2))) == [("out_of_band_low", False)]


def test_the_dead_band_edge_ends_a_breach_and_just_outside_it_does_not() -> None:
    assert causes(judged(ph_rows([9, 9, 8.45, 8.45])))[-1] == ("out_of_band_high", True)
    assert causes(judged(ph_rows([9, 9, 8.451, 8.451]))) == [("out_of_band_high", False)]


def test_oscillating_around_the_limit_opens_once() -> None:
    found = judged(ph_rows([8.6, 8.6, *([8.48, 8.52] * 50)]))
    assert causes(found) == [("out_of_band_high", False)]


@PATIENT
@given(st.integers(3, 20), st.floats(9.0, 13.9), st.booleans())
def test_a_single_spike_is_the_probes_fault_and_never_contamination(
    at: int, height: float, together: bool
) -> None:
    values = np.full(30, GOOD)
    values[at] = height
    rows = ph_rows(values)
    parts = [rows] if together else [ph_rows([v], start=i) for i, v in enumerate(values)]
    assert causes(judged(*parts)) == [("spike", False), ("spike", True)]


def test_a_step_that_stays_is_no_spike() -> None:
    assert "spike" not in [c for c, _ in causes(judged(ph_rows([7.0] * 5 + [8.3] * 5)))]


def test_slow_series_cannot_spike() -> None:
    assert judged(ph_rows([7, 7, 9, 7, 7, 7], step_s=5)) == []


@pytest.mark.parametrize("rows_a_batch", [1_000, 7])
def test_a_probe_that_trembled_and_stands_still_is_stuck_until_it_moves(rows_a_batch: int) -> None:
    trembling = 7 + 0.001 * (np.arange(100) % 7)
    still = np.full(200, 7.003)
    values = np.concatenate([trembling, still, trembling])
    cuts = range(0, len(values), rows_a_batch)
    found = judged(*(ph_rows(values[at : at + rows_a_batch], start=at) for at in cuts))
    assert causes(found) == [("stuck", False), ("stuck", True)]
    assert found[0].observed_at_ms > NOON + 150_000


def test_a_coarse_probe_that_often_stands_still_is_not_stuck() -> None:
    coarse = np.repeat(7 + 0.1 * (np.arange(60) % 2), 20)
    assert judged(ph_rows(coarse)) == []


def test_a_windows_mean_among_the_readings_it_stands_for_is_no_spike() -> None:
    """What a hub with windows sends of a contamination: evidence one by one, then the mean."""

    def rows(at_s: int, chlorine_dioxide: float, quality: int = 0, samples: int = 1) -> Rows:
        values = np.full((1, METRICS), np.nan, np.float32)
        values[:, Metric.CHLORINE_DIOXIDE] = chlorine_dioxide
        where = np.array([1000]), np.array([NOON + at_s * 1_000])
        return as_rows(
            *where, values, np.array([quality], np.int16), np.array([samples]), history=False
        )

    mean = rows(3, 1.031, Quality.OUT_OF_BAND | Quality.RATE, samples=10)
    after = [rows(4, 1.601), rows(5, 1.6), rows(6, 1.602)]
    parts = [rows(0, 0.175), rows(1, 1.602), rows(2, 1.604), mean, *after]
    assert causes(judged(*parts)) == [("out_of_band_high", False)]
    calm = rows(3, 1.031, samples=10)
    assert ("spike", False) in causes(judged(*parts[:3], calm, *after)), "marked rows only"


def test_refused_values_are_a_sensor_fault_and_the_hubs_other_marks_are_only_hints() -> None:
    def rows(quality: int, start: int) -> Rows:
        values = np.full((2, METRICS), np.nan, np.float32)
        values[:, Metric.PH] = [7.0, 7.01]
        times = NOON + (start + np.arange(2)) * 1_000
        marks = np.full(2, quality, np.int16)
        return as_rows(np.full(2, 1000), times, values, marks, np.ones(2), history=False)

    found = judged(rows(Quality.REFUSED_VALUE, 0), rows(0, 2))
    assert causes(found) == [("impossible", False), ("impossible", True)]
    assert judged(rows(Quality.OUT_OF_BAND | Quality.SPIKE | Quality.FLAT, 0)) == []


def test_a_sites_own_band_overrides_the_default_and_its_version_is_evidence() -> None:
    own = BandRow(Metric.PH, 6.5, 9.5, 0.05, 2, "EU", "98/83/EC")
    book = BandBook((*DEFAULT, StoredBand(own, 7, 4)), {1000: 4})
    assert judged(ph_rows([9.31] * 3), book=book) == []
    [finding] = judged(ph_rows([9.6] * 2), book=book)
    assert finding.evidence["band"]["version"] == 7
    assert finding.evidence["band"]["site_id"] == 4
    assert judged(ph_rows([9.31] * 3, sensor=1001), book=book) != []


@pytest.mark.spec("D1")
def test_late_rows_never_change_live_state_and_open_historical_findings_only() -> None:
    detector = Detector(HubState(), BandBook())
    detector.evaluate(ph_rows([GOOD] * 10, start=100), NOON)
    before = tracked(detector)
    found = detector.evaluate(ph_rows([HIGH] * 5, start=50), NOON)
    assert [f.historical for f in found] == [True]
    assert tracked(detector) == before


def tracked(detector: Detector) -> list[bytes]:
    live = detector.state.live
    return [each.tobytes() for each in (live.last_ms, live.values, live.at_ms, live.opened)]


def test_a_backlog_that_comes_one_row_a_batch_is_still_judged_n_of_m() -> None:
    backlog = [ph_rows([v], start=i) for i, v in enumerate([GOOD, HIGH, HIGH, GOOD])]
    found = judged(ph_rows([GOOD], start=500), *backlog)
    assert [(str(f.cause), f.historical) for f in found] == [("out_of_band_high", True)]


def test_history_sent_on_purpose_never_touches_live_state() -> None:
    detector = Detector(HubState(), BandBook())
    found = detector.evaluate(ph_rows([HIGH] * 3, history=True), NOON)
    assert [f.historical for f in found] == [True]
    assert (detector.state.live.last_ms == -1).all()


def test_a_clock_gone_ahead_does_not_silence_a_sensor_for_good() -> None:
    ahead = AHEAD_MS_MAX // 1_000 + 100
    found = judged(ph_rows([GOOD] * 3, start=ahead), ph_rows([HIGH] * 2))
    assert [(str(f.cause), f.historical) for f in found] == [("out_of_band_high", False)]


def test_evaluating_the_same_rows_twice_finds_nothing_new() -> None:
    rows = ph_rows([GOOD, HIGH, HIGH, GOOD, GOOD, LOW, LOW])
    once = {f.finding_id for f in judged(rows)}
    assert len(once) == 3
    assert {f.finding_id for f in judged(rows, rows, rows)} == once


WATER = st.sampled_from([7.0, 7.01, 8.4, 8.47, 8.5, 8.501, 8.6, 9.31, 11.0, 6.5, 6.4, 5.0])


@PATIENT
@given(st.lists(WATER, min_size=1, max_size=60), st.data())
def test_a_restart_in_mid_stream_changes_no_finding(
    values: list[float], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    parts = [p for p in (values[:cut], values[cut:]) if p]
    whole = judged(ph_rows(values))
    detector, found, at = Detector(HubState(), BandBook()), [], 0
    for part in parts:
        found += detector.evaluate(ph_rows(part, start=at), NOON)
        at += len(part)
        detector = Detector(HubState.from_bytes(detector.state.to_bytes()), BandBook())
    assert found == whole


@PATIENT
@given(st.lists(WATER, min_size=1, max_size=40))
def test_every_explanation_recomputes_to_the_same_finding(values: list[float]) -> None:
    for finding in judged(ph_rows(values)):
        assert recompute(finding.evidence) == finding
        assert sentence(finding.evidence)


def test_changed_evidence_no_longer_shows_the_finding() -> None:
    [finding] = judged(ph_rows([HIGH, HIGH]))
    assert recompute({**finding.evidence, "values": [7.0, 9.31]}) is None


def test_the_sentence_names_value_limit_law_count_and_neighbours() -> None:
    detector = Detector(HubState(), BandBook())
    detector.evaluate(ph_rows([7.2], sensor=1003), NOON)
    [finding] = detector.evaluate(ph_rows([9.31, 9.31]), NOON)
    said = sentence(finding.evidence)
    assert said == (
        "pH 9.31 is above 8.5 (US, 40 CFR 143.3 (secondary)) in 2 of 3 readings; "
        "neighbours: 1003 at 7.2"
    )


@PATIENT
@given(
    st.lists(st.sampled_from([GOOD, GOOD, GOOD, 8.47, HIGH, LOW]), min_size=4, max_size=40),
    st.data(),
)
def test_the_order_of_urgent_and_routine_changes_no_set_of_findings(
    values: list[float], data: st.DataObject
) -> None:
    around = 4  # an urgent copy holds the rows around whatever is not plainly healthy
    odd = [i for i, v in enumerate(values) if v != GOOD]
    near = [i for i in range(len(values)) if any(abs(i - j) <= around for j in odd)]
    routine = [ph_rows([v], start=i) for i, v in enumerate(values)]
    urgent = [ph_rows([values[i]], start=i) for i in near]
    mixed, r, u = [], list(routine), list(urgent)
    while r or u:
        source = r if (not u or (r and data.draw(st.booleans()))) else u
        mixed.append(source.pop(0))
    assert ids(mixed) == ids(routine) == ids([*urgent, *routine])


def ids(parts: list[Rows]) -> set[UUID]:
    found = judged(*parts)
    return {f.finding_id for f in found if f.cause in (Cause.HIGH, Cause.LOW)}


def test_windowed_rows_count_as_instants_too() -> None:
    assert causes(judged(ph_rows([HIGH, HIGH], step_s=10))) == [("out_of_band_high", False)]


def test_rows_the_store_refuses_as_future_are_not_evaluated() -> None:
    assert judged(ph_rows([HIGH] * 5, start=200_000), now_ms=UnixMs(NOON)) == []
