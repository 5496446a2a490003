"""The raw rows around something suspicious: a copy, sent at once, beside the routine series."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.register import grown
from edge_agent.core.rows import NONE, Rows, joined
from wire.limits import SENSOR_RATE_PER_S
from wire.metric import METRICS
from wire.token_bucket import EMPTY_AT_MS, admit

ROWS_BEFORE: Final = 11
"""How many of a sensor's last readings accompany a suspicious one."""
EVIDENCE_AT_ONCE: Final = 60
"""So many suspicious readings of one sensor go out the moment they come; a burst, in tokens."""
EVIDENCE_PER_S: Final = 0.1
"""Afterwards one message of new rows each ten seconds: a broken probe costs no more than that.

Seconds are the longer of two: those that passed, and those its readings take at full rate. Readings
kept while nobody heard them come faster than that, and count for their own time.
"""
_READING_MS: Final = round(1_000 / SENSOR_RATE_PER_S)

# A sensor must not push rows out of the ring between two messages.
assert ROWS_BEFORE * _READING_MS >= 1_000 / EVIDENCE_PER_S


class Shown(NamedTuple):
    """What to send, and what to remember once it is committed.

    Attributes:
        rows: The evidence, by sensor and time.
        sent: bool, shape ``(n,)``: which of the new readings are in it.
        places: Whose evidence it is.
        due_ms: The senders' buckets afterwards.
        heard: Places of the new readings.
        clock_ms: The time each of these has had; shape as ``heard``.
        owing: Whether suspicious readings of it had to wait; shape as ``heard``.
        steady_ms: When this was chosen.
    """

    rows: Rows
    sent: NDArray[np.bool_]
    places: NDArray[np.intp]
    due_ms: NDArray[np.int64]
    heard: NDArray[np.intp]
    clock_ms: NDArray[np.int64]
    owing: NDArray[np.bool_]
    steady_ms: int


_NOBODY: Final = np.empty(0, np.intp)
_NO_TIME: Final = np.empty(0, np.int64)
_NOTHING: Final = np.empty(0, np.bool_)
NO_EVIDENCE: Final = Shown(NONE, _NOTHING, _NOBODY, _NO_TIME, _NOBODY, _NO_TIME, _NOTHING, 0)
"""Of no readings."""


class Ring:
    """The last ``ROWS_BEFORE`` readings of each sensor, by place."""

    def __init__(self) -> None:
        self._at_ms = np.full((0, ROWS_BEFORE), -1, np.int64)
        self._values = np.empty((0, ROWS_BEFORE, METRICS), np.float32)
        self._quality = np.empty((0, ROWS_BEFORE), np.int16)
        self._shown = np.empty((0, ROWS_BEFORE), np.bool_)
        self._count = np.empty(0, np.int64)
        self._due_ms = np.empty(0, np.int64)
        self._clock_ms = np.empty(0, np.int64)
        self._steady_ms = np.empty(0, np.int64)
        self._owing = np.empty(0, np.bool_)

    def grow(self, places: int) -> None:
        """Make room for this many sensors."""
        self._at_ms = grown(self._at_ms, places, -1)
        self._values = grown(self._values, places, np.nan)
        self._quality = grown(self._quality, places, 0)
        self._shown = grown(self._shown, places, True)
        self._count = grown(self._count, places, 0)
        self._due_ms = grown(self._due_ms, places, EMPTY_AT_MS)
        self._clock_ms = grown(self._clock_ms, places, 0)
        self._steady_ms = grown(self._steady_ms, places, 0)
        self._owing = grown(self._owing, places, False)

    def show(
        self, rows: Rows, places: NDArray[np.intp], suspicious: NDArray[np.bool_], steady_ms: int
    ) -> Shown:
        """Choose the evidence for new readings; changes nothing.

        The first suspicious reading goes at once, later ones with what is new since; no row goes
        twice. What has to wait goes with one of the next ten readings, be they calm.

        Args:
            rows: New readings by place, then time.
            places: Shape ``(n,)``, rising.
            suspicious: Shape ``(n,)``.
            steady_ms: Now.
        """
        heard, count = np.unique(places, return_counts=True)
        passed_ms = np.maximum(steady_ms - self._steady_ms[heard], count * _READING_MS)
        clock_ms = self._clock_ms[heard] + passed_ms
        owing = self._owing[heard] | np.isin(heard, places[suspicious])
        asking, now_ms = heard[owing], clock_ms[owing]
        paid = admit(
            self._due_ms, asking, now_ms, rate_per_s=EVIDENCE_PER_S, burst=EVIDENCE_AT_ONCE
        )
        owing[owing] = ~paid.admitted
        granted = asking[paid.admitted]
        sent = _near(places, suspicious) & np.isin(places, granted)
        earlier = self._unsent(granted, rows.sensor_ids[np.searchsorted(places, granted)])
        shown = joined([earlier, rows.take(sent)]).by_sensor()
        return Shown(shown, sent, granted, paid.due_ms, heard, clock_ms, owing, steady_ms)

    def put(self, rows: Rows, places: NDArray[np.intp], shown: Shown) -> None:
        """Remember new readings, and what of everything was shown."""
        self._shown[shown.places] = True
        self._due_ms = shown.due_ms
        self._clock_ms[shown.heard] = shown.clock_ms
        self._steady_ms[shown.heard] = shown.steady_ms
        self._owing[shown.heard] = shown.owing
        starts = np.searchsorted(places, places)
        ends = np.searchsorted(places, places, side="right")
        turn = np.arange(len(places))
        last = ends - turn <= ROWS_BEFORE
        slot = (self._count[places] + turn - starts)[last] % ROWS_BEFORE
        where = (places[last], slot)
        self._at_ms[where] = rows.observed_at_ms[last]
        self._values[where] = rows.values[last]
        self._quality[where] = rows.quality[last]
        self._shown[where] = shown.sent[last]
        np.add.at(self._count, places, 1)

    def _unsent(self, granted: NDArray[np.intp], sensor_ids: NDArray[np.int64]) -> Rows:
        """Return what is in the ring and was not shown; ``sensor_ids`` by place granted."""
        whose, slot = np.nonzero(~self._shown[granted])
        where = (granted[whose], slot)
        return Rows(
            sensor_ids[whose],
            self._at_ms[where],
            self._values[where],
            self._quality[where],
            np.ones(len(whose), np.int32),
        )


def _near(places: NDArray[np.intp], suspicious: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which readings are suspicious or at most ``ROWS_BEFORE`` before one that is."""
    n = len(places)
    turn = np.arange(n)
    following = np.minimum.accumulate(np.where(suspicious, turn, n)[::-1])[::-1]
    own = np.append(places, -1)[following] == places
    near: NDArray[np.bool_] = own & (following - turn <= ROWS_BEFORE)
    return near
