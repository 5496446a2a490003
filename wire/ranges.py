"""Sets of sequences as sorted half-open ranges: what receipts and ledgers are made of.

``Ranges`` are always in normal form: non-empty ``[low, high)``, sorted, disjoint, never touching.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]

EMPTY: Final[Ranges] = ()


def normal(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Return the normal form of any ranges; empty ones vanish, touching ones join."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def from_numbers(numbers: Iterable[int]) -> Ranges:
    """Return the ranges that hold exactly these numbers."""
    return normal((number, number + 1) for number in numbers)


def union(a: Ranges, b: Ranges) -> Ranges:
    """Return what is in either."""
    return normal((*a, *b))


def minus(a: Ranges, b: Ranges) -> Ranges:
    """Return what is in ``a`` and not in ``b``."""
    left: list[tuple[int, int]] = []
    for low, high in a:
        for cut_low, cut_high in b:
            if cut_high <= low or cut_low >= high:
                continue
            if cut_low > low:
                left.append((low, cut_low))
            low = cut_high
        if low < high:
            left.append((low, high))
    return tuple(left)


def intersect(a: Ranges, b: Ranges) -> Ranges:
    """Return what is in both."""
    return normal(
        (max(low, other_low), min(high, other_high))
        for low, high in a
        for other_low, other_high in b
    )


def contains(ranges: Ranges, number: int) -> bool:
    """Return whether ``number`` is in ``ranges``."""
    return any(low <= number < high for low, high in ranges)


def count(ranges: Ranges) -> int:
    """Return how many numbers there are."""
    return sum(high - low for low, high in ranges)


def is_normal(ranges: Iterable[tuple[int, int]]) -> bool:
    """Return whether these are ranges of naturals in normal form."""
    last = -1
    for low, high in ranges:
        if not last < low < high:
            return False
        last = high
    return True
