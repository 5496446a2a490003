"""What a hub throttled is not missing: but only where its sensor did speak too fast."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.instants import paired
from edge_agent.core.memory import Fate, Memory
from firmware_sim.core.comparison import Made, Refused, Stored, compare_rows
from firmware_sim.core.haste import crowded
from firmware_sim.core.windows import compare_windows
from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S
from wire.metric import METRICS

Key = tuple[int, int]
NOBODY = np.empty(0, np.int64)
NOTHING = Refused(NOBODY, NOBODY, NOBODY)

instants = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9_000)), max_size=24, unique=True)


def made(of: list[Key]) -> Made:
    columns = np.array(of, np.int64).reshape(-1, 2)
    values = np.full((len(of), METRICS), np.nan, np.float32)
    return Made(columns[:, 0], columns[:, 1], values, np.full(len(of), True))


def stored(of: list[Key]) -> Stored:
    copy = made(of)
    return Stored(
        copy.sensor_ids, copy.observed_at_ms * 1_000, copy.values, np.ones(len(of), np.int64)
    )


def taken(of: list[Key], cuts: list[int]) -> list[Key]:
    """Return what a hub takes of readings that come in this order, in several commits."""
    memory = Memory(NOBODY, NOBODY, np.zeros(2, np.int64), 0)
    kept: list[Key] = []
    for low, high in zip([0, *cuts], [*cuts, len(of)], strict=True):
        places, at_ms = np.array(of[low:high], np.int64).reshape(-1, 2).T
        judged = memory.judge(places, at_ms)
        yes = judged.fate == Fate.TAKEN
        memory.take(paired(places[yes], at_ms[yes]), judged.due_ms, 0)
        kept += [key for key, took in zip(of[low:high], yes.tolist(), strict=True) if took]
    return kept


def by_definition(of: list[Key], kept: list[Key]) -> list[bool]:
    def too_many(one: Key) -> bool:
        times = sorted(at for sensor, at in {*kept, one} if sensor == one[0])
        return any(
            sum(low <= at <= high for at in times)
            > SENSOR_BURST + SENSOR_RATE_PER_S * (high - low) / 1_000
            for low in times
            for high in times
            if low <= one[1] <= high
        )

    return [too_many(one) for one in of]


@given(instants, st.data())
@settings(max_examples=200, deadline=None)
def test_a_reading_is_crowded_where_a_span_around_it_holds_too_many(
    of: list[Key], data: st.DataObject
) -> None:
    mask = np.array([data.draw(st.booleans()) for _ in of], np.bool_)
    ours = made(of)
    found = crowded(ours.sensor_ids, ours.observed_at_ms, mask)
    kept = [key for key, took in zip(of, mask.tolist(), strict=True) if took]
    assert found.tolist() == by_definition(of, kept)


@given(instants, st.lists(st.integers(0, 24), max_size=3), st.sampled_from([1_000, 2_500, 10_000]))
@settings(max_examples=400, deadline=None)
def test_whatever_a_hub_throttles_is_throttled_and_not_missing(
    of: list[Key], cuts: list[int], window_ms: int
) -> None:
    kept = taken(of, sorted(min(cut, len(of)) for cut in cuts))
    rows = compare_rows(made(of), stored(kept), NOTHING)
    assert (rows.missing, rows.throttled) == (0, len(of) - len(kept))
    windows = compare_windows(made(of), stored(kept), NOTHING, window_ms)
    assert (windows.missing, windows.throttled) == (0, len(of) - len(kept))


@given(st.integers(0, 30), st.sampled_from([2_000, 10_000]))
def test_of_a_sensor_that_keeps_its_pace_every_loss_is_missing(lost: int, window_ms: int) -> None:
    of = [(1, 5 + 1_000 * second) for second in range(31)]
    rest = [key for key in of if key != of[lost]]
    for verdict in (
        compare_rows(made(of), stored(rest), NOTHING),
        compare_windows(made(of), stored(rest), NOTHING, window_ms),
    ):
        assert (verdict.missing, verdict.throttled) == (1, 0)


def test_a_hasty_sensor_whose_readings_all_vanish_is_not_throttled() -> None:
    of = [(1, 100 * tenth) for tenth in range(100)]
    assert compare_rows(made(of), stored([]), NOTHING).missing == 100
    windows = compare_windows(made(of), stored([]), NOTHING, 10_000)
    assert windows.missing >= 8
