"""What a hub remembers of each sensor, and the fate of each reading that follows from it.

One hour of instants is remembered per sensor, counted in the sensor's own time: back from its
newest reading, whatever the hub's clock says. So a hub that was off for a day still takes a day of
kept readings, oldest first, and a replay of old files needs no rule of its own.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.instants import Instants, Pairs, paired, places_of, times_of
from edge_agent.core.register import grown
from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S
from wire.token_bucket import EMPTY_AT_MS, admit

MEMORY_MS: Final = 3_600_000
INSTANTS_MAX: Final = 4_000_000
"""Beyond it (more than 1,111 sensors at full rate) the hub remembers less than an hour."""
_AGES: Final = 2**62
_FORGET_EVERY: Final = 65_536
_BUCKET_MEMORY_MS: Final = 10_000

assert round(1_000 * SENSOR_BURST / SENSOR_RATE_PER_S) < _BUCKET_MEMORY_MS


class Fate(IntEnum):
    """What became of a reading."""

    TAKEN = 0
    DUPLICATE = 1  # its instant is known; the first stays
    STALE = 2  # older than what is remembered: nobody can say whether it is a duplicate
    THROTTLED = 3  # the sensor speaks too fast
    CROWDED = 4  # the hub has no room for another sensor


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The fate of each reading of one commit.

    Attributes:
        fate: int8, shape ``(n,)``, a ``Fate``.
        ahead: bool, shape ``(n,)``: taken, and newer than all the sensor's earlier ones.
        due_ms: int64: the token buckets afterwards, one per place.
    """

    fate: NDArray[np.int8]
    ahead: NDArray[np.bool_]
    due_ms: NDArray[np.int64]


class Memory:
    """The instants in intake (held) and in batches (emitted), and each sensor's newest."""

    def __init__(
        self, held: Pairs, emitted: Pairs, floor_ms: NDArray[np.int64], steady_ms: int
    ) -> None:
        """Remember what the spool knows.

        Args:
            held: Instants in intake.
            emitted: Instants of sealed rows.
            floor_ms: int64, one per place: everything of the sensor below it is forgotten.
            steady_ms: Now.
        """
        self.held, self.emitted = Instants(held), Instants(emitted)
        self.floor_ms = floor_ms
        self.newest_ms = np.full(len(floor_ms), -1, np.int64)
        known = np.union1d(held, emitted)
        np.maximum.at(self.newest_ms, places_of(known), times_of(known))
        self.latest_ms = self.newest_ms.copy()
        self.heard_ms = np.full(len(floor_ms), steady_ms, np.int64)
        self.due_ms = np.full(len(floor_ms), EMPTY_AT_MS, np.int64)
        lately = known[times_of(known) > self.newest_ms[places_of(known)] - _BUCKET_MEMORY_MS]
        self.due_ms = admit(self.due_ms, places_of(lately), times_of(lately)).due_ms
        self._forget_at = len(self.emitted) + _FORGET_EVERY

    def grow(self, places: int) -> None:
        """Make room for this many sensors."""
        self.floor_ms = grown(self.floor_ms, places, 0)
        self.newest_ms = grown(self.newest_ms, places, -1)
        self.latest_ms = grown(self.latest_ms, places, -1)
        self.heard_ms = grown(self.heard_ms, places, 0)
        self.due_ms = grown(self.due_ms, places, EMPTY_AT_MS)

    def judge(self, places: NDArray[np.intp], at_ms: NDArray[np.int64]) -> Judgement:
        """Decide the fate of readings in the order they came; changes nothing.

        Args:
            places: Shape ``(n,)``; negative for a sensor without a place.
            at_ms: int64, shape ``(n,)``: when they were observed.
        """
        place = np.maximum(places, 0)
        pairs = paired(place, at_ms)
        order = np.argsort(pairs, kind="stable")
        again = np.zeros(len(pairs), np.bool_)
        again[order[1:]] = pairs[order[1:]] == pairs[order[:-1]]
        fate = np.full(len(pairs), Fate.TAKEN, np.int8)
        fate[again | self.knows(pairs)] = Fate.DUPLICATE
        fate[at_ms <= self._forgotten_through(place)] = Fate.STALE
        fate[places < 0] = Fate.CROWDED
        new = order[fate[order] == Fate.TAKEN]
        leads = at_ms[new] > self.newest_ms[place[new]]
        front, back = new[leads], new[~leads]
        admission = admit(self.due_ms, place[front], at_ms[front])
        fate[front[~admission.admitted]] = Fate.THROTTLED
        if len(back):
            crammed = self._crammed(pairs[back], pairs[front[admission.admitted]])
            fate[back[crammed]] = Fate.THROTTLED
        ahead = np.zeros(len(pairs), np.bool_)
        ahead[front] = admission.admitted
        return Judgement(fate, ahead, admission.due_ms)

    def late(
        self, places: NDArray[np.intp], at_ms: NDArray[np.int64], window_ms: int
    ) -> NDArray[np.bool_]:
        """Return which readings come after their window was emitted; without windows, none."""
        if not window_ms:
            return np.zeros(len(places), np.bool_)
        start = paired(places, at_ms - at_ms % window_ms)
        return self.emitted.between(start, start + window_ms) > 0

    def knows(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Return which instants are in intake or in a batch, shape ``(n,)``."""
        return self.held.has(pairs) | self.emitted.has(pairs)

    def take(self, pairs: Pairs, due_ms: NDArray[np.int64], steady_ms: int) -> None:
        """Note readings that are now in intake, in the order they came."""
        self.held.add(pairs)
        places, times = places_of(pairs), times_of(pairs)
        np.maximum.at(self.newest_ms, places, times)
        self.latest_ms[places] = times
        self.heard_ms[places] = steady_ms
        self.due_ms = due_ms

    def emit(self, held: Pairs, emitted: Pairs) -> None:
        """Note that ``emitted`` are in batches now and ``held`` is what intake still holds."""
        self.held.keep(held)
        self.emitted.add(emitted)

    def forget(self, steady_ms: int) -> bool:
        """Let go of what is older than an hour, from time to time; return whether it did.

        Of a sensor silent for an hour, everything.
        """
        if len(self.emitted) < self._forget_at:
            return False
        pairs, span_ms = self.emitted.all(), MEMORY_MS
        age = self.newest_ms[places_of(pairs)] - times_of(pairs)
        age[self.heard_ms[places_of(pairs)] < steady_ms - MEMORY_MS] = _AGES
        while np.count_nonzero(age <= span_ms) > INSTANTS_MAX:
            span_ms //= 2
        gone = pairs[age > span_ms]
        np.maximum.at(self.floor_ms, places_of(gone), times_of(gone) + 1)
        self.emitted.keep(pairs[age <= span_ms])
        self._forget_at = len(self.emitted) + _FORGET_EVERY
        return True

    def _forgotten_through(self, places: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return, per reading, the newest instant its sensor's memory no longer reaches.

        It is an emitted one, older than an hour: what lies beyond it cannot be a duplicate.
        """
        last = self.emitted.last_below(paired(places, self.newest_ms[places] - MEMORY_MS))
        own = (last >= 0) & (places_of(last) == places)
        return np.maximum(self.floor_ms[places] - 1, np.where(own, times_of(last), -1))

    def _crammed(self, pairs: Pairs, admitted: Pairs) -> NDArray[np.bool_]:
        """Return which late readings find their own second full. Both arguments are sorted.

        A token bucket knows no time before its own, so a late reading is admitted while fewer than
        a full bucket of readings are known in the second it was observed in.
        """
        second = pairs - times_of(pairs) % 1_000
        known = self.held.between(second, second + 1_000)
        known += self.emitted.between(second, second + 1_000)
        known += np.searchsorted(admitted, second + 1_000) - np.searchsorted(admitted, second)
        before_me = np.arange(len(pairs)) - np.searchsorted(second, second)
        crammed: NDArray[np.bool_] = known + before_me >= SENSOR_BURST
        return crammed
