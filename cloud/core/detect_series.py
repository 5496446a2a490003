"""A batch's readings as series: one per sensor and column, each continued from its track."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_state import KEPT, Standing, Track
from water.rules import DEPTH

_BACK: Final = np.arange(DEPTH)[:, None]
_KEPT_BEFORE: Final = np.arange(KEPT, 0, -1)
_KEPT_TO_END: Final = np.arange(KEPT - 1, -1, -1)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """``m`` measured values in ``g`` series, one after another, each in order of time.

    Attributes:
        key: Place of each series in an array of shape ``(COLUMNS, sensors)``, flat; ``(g,)``.
        column: Of each series, shape ``(g,)``.
        place: Its sensor's, shape ``(g,)``.
        starts: Where each begins, shape ``(g,)``.
        lengths: How many values each has, shape ``(g,)``.
        value: float32, shape ``(m,)``.
        at: Where each value lies in ``chain``, shape ``(m,)``.
        chain: Before each series, the ``KEPT`` instants its track remembers; then its values.
        chain_ms: When.
    """

    key: NDArray[np.intp]
    column: NDArray[np.intp]
    place: NDArray[np.intp]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    value: NDArray[np.float32]
    at: NDArray[np.intp]
    chain: NDArray[np.float32]
    chain_ms: NDArray[np.int64]

    @property
    def ends(self) -> NDArray[np.intp]:
        """Where each series ends, shape ``(g,)``."""
        return self.starts + self.lengths - 1

    def before(self) -> NDArray[np.float32]:
        """Return each value's predecessor, NaN where there is none."""
        return self.chain.take(self.at - 1)

    def window(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the windows that end in the chosen values, and their times: ``(DEPTH, n)``."""
        where = self.at[chosen] - _BACK
        return self.chain.take(where), self.chain_ms.take(where)

    def any(self, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which series have a value that is ``marked``, shape ``(g,)``."""
        if not marked.any():
            return np.zeros(len(self.key), bool)
        found: NDArray[np.bool_] = np.logical_or.reduceat(marked, self.starts)
        return found

    def only(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return every value of the wanted series, and which series each belongs to."""
        groups = np.flatnonzero(wanted)
        lengths = self.lengths[groups]
        group = np.repeat(groups, lengths)
        begins = np.cumsum(lengths) - lengths
        within = np.arange(len(group)) - np.repeat(begins, lengths)
        return self.starts[group] + within, group


def series(
    track: Track, place: NDArray[np.intp], at_ms: NDArray[np.int64], values: NDArray[np.float32]
) -> Series:
    """Return the series of some rows.

    Args:
        track: What the rows continue.
        place: Index of each row's sensor, shape ``(n,)``; rows sorted by it, then by time.
        at_ms: Shape ``(n,)``.
        values: Shape ``(columns, n)``, the first of ``COLUMNS``.
    """
    column, row = _measured(values)
    key = column * track.opened.shape[1] + place.take(row)
    first = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=len(key))
    at = np.arange(len(key)) + np.repeat(np.arange(1, len(starts) + 1) * KEPT, lengths)
    chain = np.empty(len(key) + KEPT * len(starts), np.float32)
    chain_ms = np.empty(len(chain), np.int64)
    value = values[column, row]
    chain[at], chain_ms[at] = value, at_ms.take(row)
    which = key.take(starts), column.take(starts), place.take(row.take(starts))
    kept = at.take(starts)[:, None] - _KEPT_BEFORE
    chain[kept] = track.values[which[1], :, which[2]]
    chain_ms[kept] = track.at_ms[which[1], :, which[2]]
    return Series(*which, starts, lengths, value, at, chain, chain_ms)


def _measured(values: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return column and row of every value that is there, column by column."""
    there = ~np.isnan(values)
    used = np.flatnonzero(there.any(axis=1))
    there = there[used]
    rows = values.shape[1]
    if there.all():
        return np.repeat(used, rows), np.tile(np.arange(rows), len(used))
    found = np.flatnonzero(there)
    return used[found // rows], found % rows


def remember(track: Track, seen: Series) -> None:
    """Move the track on to the end of each series."""
    tail = seen.at.take(seen.ends)[:, None] - _KEPT_TO_END
    track.values[seen.column, :, seen.place] = seen.chain.take(tail)
    track.at_ms[seen.column, :, seen.place] = seen.chain_ms.take(tail)


def toggles(
    begins: NDArray[np.bool_],
    ends: NDArray[np.bool_],
    first: NDArray[np.bool_],
    was_open: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether a cause is open before, and after, each value of whole series.

    A cause opens where it ``begins`` and closes where it ``ends``; in between it stays as it is.

    Args:
        begins: Shape ``(n,)``.
        ends: Shape ``(n,)``; never where it begins, or beginning wins.
        first: Where series begin, shape ``(n,)``.
        was_open: As the track remembers it for each value's series, shape ``(n,)``.
    """
    decided = begins | ends | first
    state = np.where(begins | ends, begins, was_open)
    anchor = np.maximum.accumulate(np.where(decided, np.arange(len(first)), 0))
    after = state[anchor]
    before = np.where(first, was_open, np.roll(after, 1))
    return before, after


def stand(standing: Standing, seen: Series) -> None:
    """Move the standing on to the end of each series."""
    index = np.arange(len(seen.value))
    before = seen.before()
    equal = seen.value == before
    new = np.isnan(before[seen.starts])
    moved = np.maximum.reduceat(np.where(equal, -1, index), seen.starts)
    repeats = np.add.reduceat(equal, seen.starts, dtype=np.int32)
    run, changes, pairs = _flat(standing)
    run[seen.key] = np.where(moved < 0, run[seen.key] + seen.lengths, seen.ends - moved + 1)
    changes[seen.key] += seen.lengths - repeats - new
    pairs[seen.key] += seen.lengths - new


def runs(
    standing: Standing, seen: Series, chosen: NDArray[np.intp], group: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return run, changes and pairs at each value of whole series, before ``stand``.

    Args:
        standing: Still at the end of the previous rows.
        seen: The new rows.
        chosen: As ``Series.only`` returns.
        group: Likewise.
    """
    before = seen.chain.take(seen.at[chosen] - 1)
    equal = seen.value[chosen] == before
    paired = ~np.isnan(before)
    first = chosen == seen.starts[group]
    index = np.arange(len(chosen), dtype=np.int32)
    anchor = np.maximum.accumulate(np.where(~equal | first, index, 0))
    run, changes, pairs = (array[seen.key[group]] for array in _flat(standing))
    begin = np.maximum.accumulate(np.where(first, index, 0))
    return (
        index - anchor + 1 + np.where(first & equal, run, 0)[anchor],
        changes + _since(paired & ~equal, begin),
        pairs + _since(paired, begin),
    )


def _flat(standing: Standing) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    return (
        standing.run.reshape(-1),
        standing.changes.reshape(-1),
        standing.pairs.reshape(-1),
    )


def _since(flags: NDArray[np.bool_], begin: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return how many flags hold from ``begin`` up to and including each value."""
    total = np.cumsum(flags, dtype=np.int32)
    counted: NDArray[np.int32] = total - total[begin] + flags[begin]
    return counted
