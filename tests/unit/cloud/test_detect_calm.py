"""Calm water moves on by a short cut: it must find, and leave, what the long way does."""

import copy
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cloud.core.detect import Detector
from cloud.core.detect_bands import DEFAULT, BandBook, StoredBand
from cloud.core.detect_calm import Groups, move_on
from cloud.core.detect_rows import REFUSED, Rows, as_rows
from cloud.core.detect_series import remember, series, stand
from cloud.core.detect_state import HubState, Track
from tests.support.builders import NOON
from tests.support.detect import judged, ph_rows
from water import rules
from water.bands import BandRow
from water.finding import Cause
from wire.ids import UnixMs
from wire.metric import METRICS, Metric
from wire.quality import Quality

PATIENT = settings(deadline=None, max_examples=80)
# pH: healthy, on the dead band, on the edge, outside, a spike's height.
WATER = [7.0, 7.0, 7.0, 7.01, 7.3, 8.44, 8.46, 8.5, 8.6, 9.4, 6.4, 5.0]
MEASURED = [Metric.PH, Metric.TEMPERATURE, Metric.FLOW]  # of which the last two have no band


class Script(NamedTuple):
    """Batches of some sensors, drawn by a seed."""

    sensors: int
    batches: int
    depth: int
    odd: float
    missing: float
    uneven: bool
    seed: int


SCRIPTS = st.builds(
    Script,
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
    st.integers(0, 2**32),
)


def played(script: Script) -> list[Rows]:
    """Return the batches of a script: mostly at rest, sometimes odd, absent, refused or short."""
    rng, found, start = np.random.default_rng(script.seed), [], 0
    for _ in range(script.batches):
        depths = rng.integers(1, script.depth + 1, script.sensors)
        depths = depths if script.uneven else np.full(script.sensors, script.depth)
        ids = np.repeat(1000 + np.arange(script.sensors), depths)
        times = NOON + 1_000 * (start + np.concatenate([np.arange(depth) for depth in depths]))
        values = np.full((len(ids), METRICS), np.nan, np.float32)
        for metric in MEASURED:
            odd = rng.random(len(ids)) < script.odd
            values[:, metric] = np.where(odd, rng.choice(WATER, len(ids)), 7.0)
        values[rng.random(values.shape) < script.missing] = np.nan
        refused = (rng.random(len(ids)) < script.odd / 4) * int(Quality.REFUSED_VALUE)
        keep = rng.random(len(ids)) < 0.9 if script.uneven else np.ones(len(ids), bool)
        if keep.any():
            marks = refused.astype(np.int16)
            found.append(
                as_rows(
                    ids[keep],
                    times[keep],
                    values[keep],
                    marks[keep],
                    np.ones(keep.sum()),
                    history=False,
                )
            )
        start += script.depth
    return found


def arrays(state: HubState) -> dict[str, NDArray[Any]]:
    """Return everything live but the column of refused values, which may be left out at rest."""
    live, standing = state.live, state.standing
    each: dict[str, NDArray[Any]] = {
        "values": live.values,
        "at_ms": live.at_ms,
        "opened": live.opened,
    }
    each |= {"run": standing.run, "changes": standing.changes, "pairs": standing.pairs}
    return {name: array[:REFUSED] for name, array in each.items()} | {"last_ms": live.last_ms}


@PATIENT
@given(SCRIPTS)
def test_the_state_is_what_the_long_way_leaves(script: Script) -> None:
    detector = Detector(HubState(), BandBook())
    for rows in played(script):
        expected = copy.deepcopy(detector.state)
        detector.evaluate(rows, UnixMs(NOON))
        expected.admit(np.unique(rows.sensor_ids))
        place = np.searchsorted(expected.sensor_ids, rows.sensor_ids)
        seen = series(expected.live, place, rows.observed_at_ms, rows.values)
        remember(expected.live, seen)
        stand(expected.standing, seen)
        for name, array in arrays(expected).items():
            if name not in ("opened", "last_ms"):
                assert np.array_equal(arrays(detector.state)[name], array, equal_nan=True), name


@PATIENT
@given(SCRIPTS)
def test_how_readings_are_cut_into_batches_changes_nothing(script: Script) -> None:
    """Row by row there are no groups, no grids, and no batch that is calm only in part."""
    whole = Detector(HubState(), BandBook())
    single = Detector(HubState(), BandBook())
    for rows in played(script):
        together = whole.evaluate(rows, UnixMs(NOON))
        alone = [
            found
            for at in np.argsort(rows.observed_at_ms, kind="stable")
            for found in single.evaluate(rows.where(np.arange(len(rows)) == at), UnixMs(NOON))
        ]
        assert {f.finding_id for f in together} == {f.finding_id for f in alone}
        for name, array in arrays(single.state).items():
            assert np.array_equal(arrays(whole.state)[name], array, equal_nan=True), name


def expected_bands(values: list[float]) -> list[tuple[int, str, bool]]:
    """Judge pH one value after another, as the rules read in words."""
    low, high, dead = (np.float32(x) for x in (6.5, 8.5, 0.05))
    over, under = np.float32(np.float64(low) + dead), np.float32(np.float64(high) - dead)
    found: list[tuple[int, str, bool]] = []
    opened, window = {"low": False, "high": False}, list[np.float32]()
    for at, value in enumerate(map(np.float32, values)):
        window = [*window, value][-rules.M :]
        for side, out, back in (
            ("low", [v < low for v in window], [v >= over for v in window]),
            ("high", [v > high for v in window], [v <= under for v in window]),
        ):
            begins, ends = bool(sum(out) >= rules.N), bool(sum(back) >= rules.N)
            if begins and not opened[side]:
                found.append((at, side, False))
            if ends and not begins and opened[side]:
                found.append((at, side, True))
            opened[side] = begins or (opened[side] and not ends)
    return found


@PATIENT
@given(st.lists(st.sampled_from(WATER), min_size=1, max_size=60), st.integers(1, 9))
def test_bands_are_judged_as_their_words_say(values: list[float], rows_a_batch: int) -> None:
    column = np.full((len(values), METRICS), np.nan, np.float32)
    column[:, Metric.PH] = values
    times = NOON + 1_000 * np.arange(len(values))
    ids, marks = np.full(len(values), 1000), np.zeros(len(values), np.int16)
    rows = as_rows(ids, times, column, marks, np.ones(len(ids)), history=False)
    numbers = np.arange(len(values)) // rows_a_batch
    parts = [rows.where(numbers == number) for number in range(numbers[-1] + 1)]
    sides = {Cause.LOW: "low", Cause.HIGH: "high"}
    found = [
        ((f.observed_at_ms - NOON) // 1_000, sides[f.cause], f.ended)
        for f in judged(*parts)
        if f.cause in sides
    ]
    assert sorted(found) == sorted(expected_bands(values))


@pytest.mark.parametrize(("sensors", "depth"), [(200, 5), (1_000, 1), (20, 50)])
def test_calm_water_needs_no_rule_and_neither_does_a_breach_that_stays(
    sensors: int, depth: int
) -> None:
    book = BandBook()
    for ph in (7.0, 9.0):
        detector = Detector(HubState(), book)
        for start in (0, depth, 2 * depth):
            rows = level(sensors, depth, start, ph)
            detector.evaluate(rows, UnixMs(NOON))
        state = detector.state
        groups = Groups.of(np.repeat(np.arange(sensors), depth))
        rows = level(sensors, depth, 3 * depth, ph)
        assert move_on(state, rows, groups, book.healthy(state.sensor_ids)) is None


def level(sensors: int, depth: int, start: int, ph: float) -> Rows:
    ids = np.repeat(1000 + np.arange(sensors), depth)
    times = NOON + 1_000 * (start + np.tile(np.arange(depth), sensors))
    values = np.full((len(ids), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = ph + 0.001 * (times // 1_000 % 7)
    return as_rows(
        ids, times, values, np.zeros(len(ids), np.int16), np.ones(len(ids)), history=False
    )


def test_a_snapshot_is_the_state() -> None:
    detector = Detector(HubState(), BandBook())
    for rows in played(Script(5, 9, 3, 0.3, 0.2, True, 1)):
        detector.evaluate(rows, UnixMs(NOON))
    again = HubState.from_bytes(detector.state.to_bytes())
    for name, array in arrays(detector.state).items():
        assert np.array_equal(arrays(again)[name], array, equal_nan=True), name
    assert isinstance(again.past, Track)


@pytest.mark.parametrize("rows_a_batch", [1, 7, 59, 60, 61])
def test_a_stuck_probe_is_found_at_the_same_instant_however_batches_are_cut(
    rows_a_batch: int,
) -> None:
    trembling = 7 + 0.001 * (np.arange(100) % 7)
    values = np.concatenate([trembling, np.full(200, 7.003), trembling])
    cuts = range(0, len(values), rows_a_batch)
    parts = [ph_rows(values[at : at + rows_a_batch], start=at) for at in cuts]
    found = judged(*parts)
    assert len(found) == 2
    assert found == judged(ph_rows(values))


def test_what_is_open_is_over_by_new_bands_as_soon_as_they_say_so() -> None:
    wider = StoredBand(BandRow(Metric.PH, 6.5, 9.5, 0.05, 2, "EU", "98/83/EC"))
    others = [band for band in DEFAULT if band.row.metric is not Metric.PH]
    detector = Detector(HubState(), BandBook())
    assert len(detector.evaluate(ph_rows([9.0, 9.0, 9.0]), UnixMs(NOON))) == 1
    detector.judge_by(BandBook([*others, wider]))
    [found] = detector.evaluate(ph_rows([9.6], start=3), UnixMs(NOON))
    assert (found.cause, found.ended) == (Cause.HIGH, True)
