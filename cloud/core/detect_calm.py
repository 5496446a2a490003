"""Calm water: series in which nothing can begin or end move on in a few passes a column.

A series is called calm only where the rules would find nothing; it is then left exactly as they
would have left it. Whatever is not plainly calm is handed to them.
"""

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_bands import Healthy
from cloud.core.detect_rows import REFUSED, Rows
from cloud.core.detect_state import KEPT, HubState, Open
from water import rules

SPREAD_MAX: Final = 4  # grid cells a row may cost; rows spread more unevenly are left to the rules
JUMP: Final = np.append(rules.JUMP, np.float32(np.inf))
TREMBLES: Final = np.append(rules.TREMBLES, False)
_BANDS: Final = Open.LOW | Open.HIGH
_N = TypeVar("_N", bound=np.generic)

assert KEPT >= rules.M


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows sorted by sensor, seen as one group a sensor.

    Attributes:
        places: Where each of the ``g`` sensors stands in the state, rising.
        starts: First row of each, shape ``(g,)``.
        lengths: How many rows, shape ``(g,)``, each >= 1.
        rows: How many in all.
    """

    places: NDArray[np.intp]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    rows: int

    @classmethod
    def of(cls, place: NDArray[np.intp]) -> "Groups":
        """Return the groups of rows whose sensors stand at ``place``, shape ``(n,)``."""
        starts, lengths = runs_of(place)
        return cls(place[starts], starts, lengths, len(place))

    @property
    def ends(self) -> NDArray[np.intp]:
        """The last row of each."""
        return self.starts + self.lengths - 1

    @property
    def place(self) -> NDArray[np.intp]:
        """Of each row, shape ``(n,)``."""
        return np.repeat(self.places, self.lengths)


def runs_of(sorted_numbers: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where each run of equal numbers starts, and how long it is."""
    first = np.ones(len(sorted_numbers), bool)
    np.not_equal(sorted_numbers[1:], sorted_numbers[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    ends = np.empty_like(starts)
    ends[:-1], ends[-1] = starts[1:], len(sorted_numbers)
    return starts, ends - starts


class _Grid:
    """Series side by side, oldest instant first: what the track remembers, then the new ones.

    A series shorter than the longest begins with its oldest instant, repeated.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups, self.width = groups, len(groups.lengths)
        self.lengths = groups.lengths.astype(np.int32)
        self.depth = int(self.lengths.max())
        self.even = self.depth * self.width == groups.rows
        self.too_wide = self.depth * self.width > SPREAD_MAX * groups.rows
        first, last = int(groups.places[0]), int(groups.places[-1]) + 1
        self.span: Any = slice(first, last) if last - first == self.width else groups.places
        if not self.even and not self.too_wide:
            age = np.arange(KEPT + self.depth)[::-1, None]
            since = np.minimum(age - groups.lengths, KEPT - 1)
            kept = (KEPT - 1 - since) * self.width + np.arange(self.width)
            self._cell = np.where(since < 0, KEPT * self.width + groups.ends - age, kept)
            self._padding = since[KEPT:] >= 0

    def lay(self, kept: NDArray[_N], new: NDArray[_N]) -> NDArray[_N]:
        """Return ``kept``, shape ``(c, KEPT, g)``, then ``new``, shape ``(c, n)``, side by side."""
        columns = len(kept)
        if self.even:
            upright = new.reshape(columns, self.width, self.depth).transpose(0, 2, 1)
            return np.concatenate((kept, upright), axis=1)
        flat = np.concatenate((kept.reshape(columns, -1), new), axis=1)
        laid: NDArray[_N] = flat.take(self._cell, axis=1)
        return laid

    def repeats(self, equal: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return ``equal``, shape ``(c, depth, g)``, without the padding."""
        return equal if self.even else equal & ~self._padding


def move_on(
    state: HubState, rows: Rows, groups: Groups, healthy: Healthy
) -> NDArray[np.float32] | None:
    """Move every calm series of the live track on; return the values of all others.

    Returns:
        None when all was calm; else shape ``(COLUMNS, n)``, NaN where a value is dealt with.
    """
    n, absent = len(rows), np.isnan(rows.values)
    gaps = [np.count_nonzero(each) for each in absent]
    if not (rows.values[REFUSED].any() or (state.live.values[REFUSED] > 0).any()):
        gaps[REFUSED] = n  # refused values matter only where there are, or lately were, any
    parts: list[tuple[list[int], Any, Groups]] = []
    if dense := [column for column, gap in enumerate(gaps) if not gap]:
        parts.append((dense, slice(None), groups))
    for column, gap in enumerate(gaps):
        if 0 < gap < n:
            some = np.flatnonzero(~absent[column])
            parts.append(([column], some, Groups.of(groups.place[some])))
    left: NDArray[np.float32] | None = None
    for columns, some, those in parts:
        calm = _Calm(state, columns, _Grid(those), healthy)
        values = rows.values[calm.columns][:, some]
        if calm.move_on(values, rows.observed_at_ms[some]):
            left = np.full_like(rows.values, np.nan) if left is None else left
            for column, odd in zip(columns, np.where(calm.odd_rows(), values, np.nan), strict=True):
                left[column, some] = odd
    return left


class _Calm:
    """Some columns of the same rows; arrays are of shape ``(c, ...)`` with series last."""

    def __init__(self, state: HubState, columns: list[int], grid: _Grid, healthy: Healthy) -> None:
        self._state, self._grid, self._healthy = state, grid, healthy
        self._numbers = np.array(columns)
        self._whole = columns[-1] - columns[0] + 1 == len(columns)
        self.columns: Any = slice(columns[0], columns[-1] + 1) if self._whole else self._numbers
        self._odd = np.ones((len(columns), grid.width), bool)
        self._odd_ones: Any = ()

    def odd_rows(self) -> NDArray[np.bool_]:
        """Return which values belong to series that were not calm, shape ``(c, n)``."""
        return np.repeat(self._odd, self._grid.groups.lengths, axis=1)

    def move_on(self, values: NDArray[np.float32], at_ms: NDArray[np.int64]) -> bool:
        """Move the calm series on; return whether there were others."""
        if self._grid.too_wide:
            return True
        track, standing = self._state.live, self._state.standing
        laid = self._grid.lay(self._part(track.values), values)
        times = self._grid.lay(self._part(track.at_ms), np.broadcast_to(at_ms, values.shape))
        steps = np.abs(laid[:, KEPT:] - laid[:, KEPT - 1 : -1])
        equal = self._grid.repeats(steps == 0)
        repeats = _reduced(np.add, equal)
        run, changes, pairs = map(self._part, (standing.run, standing.changes, standing.pairs))
        moved = changes + self._grid.lengths - repeats
        self._judge(laid, steps)
        self._odd |= self._may_be_stuck(run + repeats + 1, moved, pairs)
        if self._odd.any():
            column, series = self._odd.nonzero()
            self._odd_ones = (self._numbers[column], ..., self._grid.groups.places[series])
        run = _run(equal, repeats, run, self._grid.lengths)
        self._put(track.values, laid[:, -KEPT:])
        self._put(track.at_ms, times[:, -KEPT:])
        self._put(standing.run, run)
        self._put(standing.changes, moved)
        self._put(standing.pairs, pairs + self._grid.lengths)
        return bool(self._odd_ones)

    def _judge(self, laid: NDArray[np.float32], steps: NDArray[np.float32]) -> None:
        """Note which series may spike or leave their band, or end what is open."""
        new = laid[:, KEPT:]
        low, high = self._part(self._healthy.low), self._part(self._healthy.high)
        above = _reduced(np.maximum, new) > high
        below = _reduced(np.minimum, new) < low
        # A step is NaN where there was no value before: never calm.
        jumped = ~(_reduced(np.maximum, steps) <= JUMP[self.columns, None])
        opened = self._part(self._state.live.opened)
        if not opened.any():
            self._odd = above | below | jumped
            return
        # What is open ends only by values that are back inside; N of them make an end.
        recent = laid[:, KEPT - rules.M + 1 :]
        over, under = rules.inner(low, high, self._part(self._healthy.dead_band))
        calm = ~above & ~below & (opened == 0)
        calm |= ~below & (opened == Open.HIGH) & (recent.min(axis=1) > under)
        calm |= ~above & (opened == Open.LOW) & (recent.max(axis=1) < over)
        self._odd = ~calm | jumped

    def _may_be_stuck(
        self, run: NDArray[np.int32], changes: NDArray[np.int32], pairs: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Return which probes could be found stuck, given bounds of what is counted of them."""
        if int(run.max()) < rules.FLAT_RUN_MIN:
            return np.zeros_like(self._odd)
        found: NDArray[np.bool_] = rules.stuck(run, changes, pairs) & TREMBLES[self.columns, None]
        return found

    def _part(self, array: NDArray[_N]) -> NDArray[_N]:
        """Return these columns and sensors of an array of the state."""
        if self._whole:
            part: NDArray[_N] = array[self.columns][..., self._grid.span]
            return part
        return np.stack([array[column][..., self._grid.span] for column in self._numbers])

    def _put(self, array: NDArray[_N], new: NDArray[_N]) -> None:
        """Write what is new of these columns and sensors, but nothing of those that are odd."""
        before = array[self._odd_ones] if self._odd_ones else None
        if self._whole:
            array[self.columns][..., self._grid.span] = new
        else:
            for each, part in zip(self._numbers, new, strict=True):
                array[each][..., self._grid.span] = part
        if before is not None:
            array[self._odd_ones] = before


def _reduced(ufunc: np.ufunc, array: NDArray[Any]) -> NDArray[Any]:
    """Return shape ``(c, g)`` of ``(c, depth, g)``; bool counts as int32."""
    if array.shape[1] == 1:
        only: NDArray[Any] = array[:, 0]
        return only.astype(np.int32) if only.dtype == bool else only
    found: NDArray[Any] = ufunc.reduce(
        array, axis=1, dtype=np.int32 if array.dtype == bool else None
    )
    return found


def _run(
    equal: NDArray[np.bool_],
    repeats: NDArray[np.int32],
    run: NDArray[np.int32],
    lengths: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return how many values are equal at the end of each series, shape ``(c, g)``."""
    if equal.shape[1] == 1:
        return run * repeats + 1
    tail = 1 + (~equal[:, ::-1]).argmax(axis=1)
    return np.where(repeats == lengths, run + repeats, tail).astype(np.int32)
