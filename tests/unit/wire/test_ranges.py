"""wire.ranges: every operation agrees with plain sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wire import ranges
from wire.ranges import Ranges

pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)
sets = pairs.map(ranges.normal)


def numbers(these: Ranges) -> set[int]:
    return {number for low, high in these for number in range(low, high)}


@given(pairs)
def test_normal_form_holds_the_same_numbers_and_nothing_touches(raw: list[tuple[int, int]]) -> None:
    normal = ranges.normal(raw)
    assert numbers(normal) == {n for low, high in raw for n in range(low, high)}
    assert ranges.is_normal(normal)
    assert all(a[1] < b[0] for a, b in pairwise(normal))


@given(sets, sets)
def test_set_operations(a: Ranges, b: Ranges) -> None:
    assert numbers(ranges.union(a, b)) == numbers(a) | numbers(b)
    assert numbers(ranges.minus(a, b)) == numbers(a) - numbers(b)
    assert numbers(ranges.intersect(a, b)) == numbers(a) & numbers(b)
    for result in (ranges.union(a, b), ranges.minus(a, b), ranges.intersect(a, b)):
        assert ranges.is_normal(result)


@given(sets, st.integers(0, 60))
def test_membership_and_count(a: Ranges, number: int) -> None:
    assert ranges.contains(a, number) == (number in numbers(a))
    assert ranges.count(a) == len(numbers(a))
    assert ranges.from_numbers(numbers(a)) == a
