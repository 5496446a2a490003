"""What hubs say they lost is shed, not missing: never more of it than they said."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.core.comparison import Made, Refused, Sheds, Stored, compare_rows
from firmware_sim.core.windows import compare_windows
from wire.metric import METRICS

Key = tuple[int, int]
Shed = tuple[int, int, int, int]
"""Hub, from, to, rows."""

SENSORS_PER_HUB = 2
NOTHING = Refused(*(np.empty(0, np.int64) for _ in range(3)))
NO_ROWS = Stored(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty((0, METRICS), np.float32),
    np.empty(0, np.int64),
)

seconds = st.integers(0, 12).map(lambda second: 1_000 * second)
keys = st.lists(st.tuples(st.integers(0, 3), seconds), min_size=1, max_size=7, unique=True)
spans = st.tuples(st.integers(0, 1), seconds, seconds, st.integers(0, 3)).map(
    lambda one: (one[0], min(one[1:3]), max(one[1:3]), one[3])
)


def made(of: list[Key]) -> Made:
    columns = np.array(of, np.int64).reshape(-1, 2)
    values = np.full((len(of), METRICS), np.nan, np.float32)
    return Made(columns[:, 0], columns[:, 1], values, np.full(len(of), True))


def allowance(said: list[Shed]) -> Sheds:
    ordered = sorted(said, key=lambda one: one[2])
    sensors = np.arange(2 * SENSORS_PER_HUB)
    return Sheds(
        sensors, sensors // SENSORS_PER_HUB, *np.array(ordered, np.int64).reshape(-1, 4).T.copy()
    )


def most(lost: list[Key], said: list[Shed]) -> int:
    """Return how many of ``lost`` can be put to what was said: a greatest matching."""
    places = [(hub, low, high) for hub, low, high, rows in said for _ in range(rows)]
    taken: dict[int, int] = {}

    def placed(one: int, seen: set[int]) -> bool:
        sensor, at_ms = lost[one]
        for place, (hub, low, high) in enumerate(places):
            if hub != sensor // SENSORS_PER_HUB or not low <= at_ms <= high or place in seen:
                continue
            seen.add(place)
            if place not in taken or placed(taken[place], seen):
                taken[place] = one
                return True
        return False

    return sum(placed(one, set()) for one in range(len(lost)))


@given(keys, st.lists(spans, max_size=4))
@settings(max_examples=300, deadline=None)
def test_as_many_are_shed_as_was_said_and_the_rest_is_missing(
    of: list[Key], said: list[Shed]
) -> None:
    verdict = compare_rows(made(of), NO_ROWS, NOTHING, allowance(said))
    assert verdict.shed == most(of, said)
    assert verdict.missing == len(of) - verdict.shed


@given(keys, st.lists(spans, max_size=4), st.integers(1_000, 6_000))
@settings(max_examples=200, deadline=None)
def test_a_row_of_a_window_excuses_that_window_only(
    of: list[Key], said: list[Shed], window_ms: int
) -> None:
    verdict = compare_windows(made(of), NO_ROWS, NOTHING, window_ms, allowance(said))
    assert verdict.shed + verdict.missing == len(of)
    in_window = Counter((sensor, at // window_ms) for sensor, at in of)
    assert verdict.shed <= sum(rows for *_, rows in said) * max(in_window.values())


def test_an_allowance_is_spent_once_over_all_groups() -> None:
    sheds = allowance([(0, 0, 10, 3)])
    first = compare_rows(made([(0, 1), (0, 2)]), NO_ROWS, NOTHING, sheds)
    second = compare_rows(made([(1, 1), (1, 2)]), NO_ROWS, NOTHING, sheds)
    assert (first + second).shed == 3
    assert (first + second).missing == 1


def test_what_is_stored_needs_no_excuse() -> None:
    of = [(0, 1), (0, 2)]
    there = made(of)
    rows = Stored(
        there.sensor_ids, there.observed_at_ms * 1_000, there.values, np.ones(2, np.int64)
    )
    sheds = allowance([(0, 0, 10, 2)])
    assert compare_rows(there, rows, NOTHING, sheds).shed == 0
    assert sheds.rows.tolist() == [2]
