"""Scores of the rows a hub seals: each sensor by its own past, nothing learnt before it is kept."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs

from edge_agent.core.register import SENSORS_PER_HUB_MAX
from edge_agent.core.rows import NONE, Rows, joined
from edge_agent.core.scoring import Scoring
from edge_agent.health import ScoringFault, scoring_fault
from edge_agent.run import model_of
from water.features import Parameters
from water.model import Backend, Forward, Model, Scores, load, shipped
from wire.metric import METRICS, Metric

pytestmark = pytest.mark.spec("I11", "D6", "K3")

SHIPPED = load(shipped())
WINDOW_MS = 10_000


def strength(features: Scores) -> Scores:
    """Stand in for a network: how strong the residuals of the first time constant are, 0..1."""
    return features[:, SHIPPED.told.shown] / 4


def toy(forward: Forward = strength, warm_readings: int = 2) -> Model:
    told = Parameters(warm_readings=warm_readings)
    return Model(told, Backend.NUMPY, "a test's", forward, {})


def rows(
    sensor_ids: Sequence[int], at_ms: Sequence[int], values: NDArray[np.float64] | None = None
) -> Rows:
    """Return rows of four metrics; by default such that each differs from the others."""
    n = len(sensor_ids)
    matrix = np.full((n, METRICS), np.nan, np.float32)
    ids, times = np.array(sensor_ids, np.int64), np.array(at_ms, np.int64)
    measured = [Metric.PH, Metric.TURBIDITY, Metric.ORP, Metric.CONDUCTIVITY]
    wiggle = 7 + (ids * 7 + times // 1_000)[:, None] % np.array([3, 5, 7, 11]) / 20
    matrix[:, measured] = wiggle if values is None else values
    return Rows(ids, times, matrix, np.zeros(n, np.int16), np.ones(n, np.int32))


def kept(scoring: Scoring, parts: Sequence[Rows]) -> list[Scores]:
    scored = scoring.score(parts)
    scoring.remember(scored)
    return scored.parts


def flushes(draw_cuts: list[int], whole: Rows) -> list[Rows]:
    """Cut rows, given by time, into batches: each by sensor, then time."""
    cuts = sorted({0, len(whole), *draw_cuts})
    return [whole.take(np.arange(low, high)).by_sensor() for low, high in pairwise(cuts)]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 24), max_size=4),
    st.lists(st.integers(0, 24), max_size=4),
)
def test_a_row_scores_the_same_however_rows_are_cut_into_batches_and_commits(
    batches: list[int], commits: list[int]
) -> None:
    whole = rows([0, 1, 2] * 8, [turn // 3 * WINDOW_MS + turn for turn in range(24)])
    at_once = Scoring(toy())
    one = flushes([], whole)
    wanted = kept(at_once, one)[0]
    by_key = dict(
        zip(zip(one[0].sensor_ids, one[0].observed_at_ms, strict=True), wanted, strict=True)
    )
    scoring = Scoring(toy())
    found: list[Rows] = []
    scores: list[Scores] = []
    for part in flushes(commits, whole):
        by_time = part.take(np.argsort(part.observed_at_ms))
        cut = flushes([place for place in batches if place < len(part)], by_time)
        found += cut
        scores += kept(scoring, cut)
    for row_ids, at_ms, score in zip(
        joined(found).sensor_ids, joined(found).observed_at_ms, np.concatenate(scores), strict=True
    ):
        np.testing.assert_array_equal(score, by_key[row_ids, at_ms])
    assert np.isfinite(wanted).sum() == 3 * 6


def test_what_was_not_committed_was_not_learnt() -> None:
    scoring, twin = Scoring(toy()), Scoring(toy())
    for turn in range(4):
        part = [rows([5, 6], [turn * WINDOW_MS] * 2)]
        scoring.score(part)  # its commit failed
        np.testing.assert_array_equal(kept(scoring, part)[0], kept(twin, part)[0])


def test_a_late_row_has_no_score_and_leaves_no_trace() -> None:
    scoring, twin = Scoring(toy()), Scoring(toy())
    for turn in range(4):
        for one in (scoring, twin):
            kept(one, [rows([5], [turn * WINDOW_MS])])
    late = rows([5, 5], [WINDOW_MS // 2, 3 * WINDOW_MS], np.full((2, 4), 9.0))
    assert np.isnan(kept(scoring, [late])[0]).all()
    following = [rows([5], [4 * WINDOW_MS])]
    np.testing.assert_array_equal(kept(scoring, following)[0], kept(twin, following)[0])


def test_a_batch_in_which_one_row_is_late_scores_the_others() -> None:
    scoring = Scoring(toy())
    for turn in range(4):
        kept(scoring, [rows([5, 6], [turn * WINDOW_MS] * 2)])
    mixed = rows([5, 5, 6], [1, 4 * WINDOW_MS, 4 * WINDOW_MS])
    assert np.isnan(kept(scoring, [mixed])[0]).tolist() == [True, False, False]


def test_all_batches_of_a_commit_cost_one_call_of_the_model() -> None:
    calls: list[int] = []

    def counting(features: Scores) -> Scores:
        calls.append(len(features))
        return strength(features)

    scoring = Scoring(toy(counting))
    for turn in range(4):
        parts = [rows(range(10 * p, 10 * p + 10), [turn * WINDOW_MS] * 10) for p in range(3)]
        assert [len(part) for part in kept(scoring, parts)] == [10, 10, 10]
    assert calls == [30, 30]  # the first two turns warm up


def test_without_a_model_nothing_is_judged() -> None:
    scoring = Scoring(None)
    for turn in range(80):
        parts = kept(scoring, [rows([5], [turn * WINDOW_MS]), rows([6], [turn * WINDOW_MS])])
        assert [np.isnan(part).all() for part in parts] == [True, True]


def test_a_commit_that_seals_nothing_scores_nothing() -> None:
    assert kept(Scoring(SHIPPED), []) == []
    assert [len(part) for part in kept(Scoring(SHIPPED), [NONE])] == [0]


def test_a_sensor_beyond_what_a_hub_has_room_for_is_not_judged() -> None:
    scoring, many = Scoring(toy()), list(range(SENSORS_PER_HUB_MAX + 1))
    for turn in range(2):
        kept(scoring, [rows(many, [turn * WINDOW_MS] * len(many))])
    [scores] = kept(scoring, [rows(many, [2 * WINDOW_MS] * len(many))])
    assert np.isfinite(scores).tolist() == [True] * SENSORS_PER_HUB_MAX + [False]


def test_the_shipped_model_tells_contamination_from_a_calm_day() -> None:
    scoring, rng = Scoring(SHIPPED), np.random.default_rng(4)
    calm = np.array([8.4, 0.02, 750.0, 210.0])
    noise = np.array([0.01, 0.002, 1.0, 0.5])
    ordinary: list[Scores] = []
    for turn in range(600):
        values = calm + noise * rng.normal(size=(20, 4))
        ordinary += kept(scoring, [rows(range(20), [turn * WINDOW_MS] * 20, values)])
    tainted = calm + noise * rng.normal(size=(20, 4)) + np.array([-0.4, 0.5, -80.0, 60.0])
    scores = kept(scoring, [rows(range(20), [600 * WINDOW_MS] * 20, tainted)])[0]
    assert np.isnan(np.concatenate(ordinary[:60])).all()
    warm = np.concatenate(ordinary[60:])
    assert np.isfinite(warm).all()
    assert np.quantile(warm, 0.999) < 0.5
    assert (scores > 0.5).all()


def gone() -> bytes:
    raise FileNotFoundError("no bundle")


@pytest.mark.parametrize("read", [gone, lambda: b"", lambda: shipped()[:-1], lambda: bytes(10**6)])
def test_a_hub_whose_bundle_is_gone_or_broken_says_so_once_and_goes_on(
    read: Callable[[], bytes],
) -> None:
    with capture_logs() as logs:
        assert model_of(read) is None
    assert [entry["log_level"] for entry in logs] == ["error"]


def test_a_hub_whose_model_is_well_says_nothing() -> None:
    with capture_logs() as logs:
        model = model_of(shipped)
    assert scoring_fault(model) is ScoringFault.NONE
    assert not logs


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (SHIPPED, ScoringFault.NONE),
        (toy(), ScoringFault.STAND_IN),
        (None, ScoringFault.UNSCORED),
    ],
)
def test_health_says_what_is_wrong_with_the_model(model: Model | None, fault: int) -> None:
    assert scoring_fault(model) == fault
