"""What a commit decides: which readings are taken, what is shown at once, what is sealed.

``decide`` changes nothing; ``remember`` is called once the decision is on disk.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.dating import apart
from edge_agent.core.evidence import NO_EVIDENCE, Ring, Shown
from edge_agent.core.held import NOTHING, Held, batched, emitted, ripe, together
from edge_agent.core.instants import paired, places_of, times_of
from edge_agent.core.memory import Fate, Judgement, Memory
from edge_agent.core.register import Register, grown
from edge_agent.core.rows import Rows
from water.bands import Bands
from water.screening import Past, Plausible, blank, out_of_band, screen
from wire.limits import READINGS_PER_BATCH_MAX
from wire.quality import Quality
from wire.token_bucket import EMPTY_AT_MS, admit

_LOOK_EVERY_MS: Final = 250
"""Windows are looked at no more often: looking costs more than taking a reading."""


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """How a hub treats its readings.

    Attributes:
        window_ms: Length of a window, aligned to observed time; 0 = raw rows.
        batch_age_ms_max: A row is sealed at most this long after its window is over.
        shows: Whether it sends evidence.
        healthy: Bands of the water it stands in.
        probe: How healthy probes behave.
    """

    window_ms: int
    batch_age_ms_max: int
    shows: bool
    healthy: Bands
    probe: Plausible


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Dated readings that ask to be taken, in the order they came.

    Attributes:
        rows: The readings; ``samples`` is 1.
        places: Shape ``(n,)``; negative for a sensor without a place.
        stamped: bool, shape ``(n,)``: dated by the hub's own clock.
        sure: bool, shape ``(n,)``: admitted before they were dated, not to be judged again.
    """

    rows: Rows
    places: NDArray[np.intp]
    stamped: NDArray[np.bool_]
    sure: NDArray[np.bool_]

    def take(self, which: NDArray[np.intp]) -> "Readings":
        """Return the readings an index picks."""
        return Readings(
            self.rows.take(which), self.places[which], self.stamped[which], self.sure[which]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Sealing:
    """What leaves intake and what stays.

    Attributes:
        left: What is in intake afterwards.
        sealed: What leaves it.
        routine: The rows that stand for it, a batch each.
        ripe_since_ms: Steady time since when something left is ripe, if anything is.
        looked_ms: Steady time of the last look.
    """

    left: list[Held]
    sealed: Held
    routine: list[Rows]
    ripe_since_ms: int | None
    looked_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What is to be made durable, and then remembered.

    Attributes:
        asked: The readings it is about.
        judgement: The fate of each.
        taken: Those taken, by place and time, with their quality.
        screened: Places of the sensors whose past changed, and that past.
        shown: The evidence.
        sealing: What leaves intake.
    """

    asked: Readings
    judgement: Judgement
    taken: Held
    screened: tuple[NDArray[np.intp], Past]
    shown: Shown
    sealing: Sealing


class Through(NamedTuple):
    """What sensors may be told, one row each.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        committed_through_ms: int64, shape ``(n,)``.
        throttled: bool, shape ``(n,)``.
        decided_ms: Of each sensor, the times of the readings just decided, ascending, each once.
    """

    sensor_ids: NDArray[np.int64]
    committed_through_ms: NDArray[np.int64]
    throttled: NDArray[np.bool_]
    decided_ms: list[NDArray[np.int64]]


_NONE: Final = np.empty(0, np.int64)
_NOBODY_TOLD: Final = Through(_NONE, _NONE, np.empty(0, np.bool_), [])
_NOBODYS_PAST: Final = (np.empty(0, np.intp), blank(0))


class Intake:
    """What a hub knows of its sensors and of the readings in intake."""

    def __init__(
        self,
        rules: Rules,
        held: tuple[Rows, NDArray[np.bool_]],
        emitted: tuple[NDArray[np.int64], NDArray[np.int64]],
        floors: tuple[NDArray[np.int64], NDArray[np.int64]],
        steady_ms: int,
    ) -> None:
        """Take up what a spool has kept; see ``Kept`` for the arguments."""
        rows, stamped = held
        self._rules = rules
        self._register = Register()
        for sensor_ids in (rows.sensor_ids, emitted[0], floors[0]):
            self._register.enter(sensor_ids)
        places = self._register.find(rows.sensor_ids)
        floor_ms = np.zeros(len(self._register), np.int64)
        floor_ms[self._register.find(floors[0])] = floors[1]
        known = paired(self._register.find(emitted[0]), emitted[1])
        self._memory = Memory(paired(places, rows.observed_at_ms), known, floor_ms, steady_ms)
        self._ring = Ring()
        self._past = blank(0)
        self._undated_due_ms = np.empty(0, np.int64)
        self._through_ms = self._memory.newest_ms.copy()
        self._held = [Held(rows, places, np.full(len(rows), steady_ms, np.int64), stamped)]
        self._looked_ms = steady_ms - _LOOK_EVERY_MS
        self._ripe_since_ms: int | None = None
        self._grow()

    @property
    def held(self) -> int:
        """How many readings are in intake."""
        return sum(len(part) for part in self._held)

    def places(self, sensor_ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return each sensor's place, shape ``(n,)``, strangers entered."""
        places = self._register.enter(sensor_ids)
        self._grow()
        return places

    def stamp(
        self, places: NDArray[np.intp], at_ms: NDArray[np.int64], again: bool
    ) -> NDArray[np.int64]:
        """Return dates of the hub's own, moved on so that they collide with nothing known.

        Args:
            places: Shape ``(n,)``.
            at_ms: int64, shape ``(n,)``: when the readings came.
            again: They may be in the spool already: then a known one is a duplicate.
        """
        known = (lambda pairs: np.zeros(len(pairs), np.bool_)) if again else self._memory.knows
        return apart(np.maximum(places, 0), at_ms, known)

    def pace(
        self, places: NDArray[np.intp], came_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which readings nobody can date yet are admitted by arrival, and the buckets."""
        admission = admit(self._undated_due_ms, np.maximum(places, 0), came_ms)
        return admission.admitted & (places >= 0), admission.due_ms

    def paced(self, due_ms: NDArray[np.int64]) -> None:
        """Remember the buckets ``pace`` returned."""
        self._undated_due_ms = due_ms

    def suspect(self) -> None:
        """Mark everything in intake that the hub's clock dated."""
        for part in self._held:
            part.rows.quality[part.stamped] |= Quality.TIME_SUSPECT

    def decide(self, asked: Readings, steady_ms: int) -> Decision:
        """Return what becomes of these readings and of what is in intake; changes nothing."""
        if not len(asked.rows):
            return self._waiting_only(asked, steady_ms)
        at_ms = asked.rows.observed_at_ms
        judgement = self._memory.judge(asked.places, at_ms)
        judgement.fate[asked.sure] = Fate.TAKEN
        index = np.flatnonzero(judgement.fate == Fate.TAKEN)
        index = index[np.lexsort((at_ms[index], asked.places[index]))]
        new = asked.take(index)
        marks = self._memory.late(new.places, new.rows.observed_at_ms, self._rules.window_ms)
        outside = out_of_band(new.rows.values, self._rules.healthy)
        new.rows.quality[marks] |= Quality.LATE
        new.rows.quality[outside] |= Quality.OUT_OF_BAND
        screened, odd = self._screened(new, judgement.ahead[index])
        suspicious = (outside | odd) if self._rules.shows else np.zeros(len(outside), np.bool_)
        shown = self._ring.show(new.rows, new.places, suspicious, steady_ms)
        taken = Held(new.rows, new.places, np.full(len(index), steady_ms, np.int64), new.stamped)
        sealing = self._sealing(taken, steady_ms)
        return Decision(asked, judgement, taken, screened, shown, sealing)

    def _waiting_only(self, asked: Readings, steady_ms: int) -> Decision:
        """Return what becomes of intake when nothing new is asked: most commits of a calm hub."""
        judgement = Judgement(np.empty(0, np.int8), np.empty(0, np.bool_), self._memory.due_ms)
        sealing = self._sealing(NOTHING, steady_ms)
        return Decision(asked, judgement, NOTHING, _NOBODYS_PAST, NO_EVIDENCE, sealing)

    def remember(self, decision: Decision, steady_ms: int) -> None:
        """Take a decision, now on disk, as the past."""
        sealing = decision.sealing
        self._held, self._ripe_since_ms = sealing.left, sealing.ripe_since_ms
        self._looked_ms = sealing.looked_ms
        if len(decision.asked.rows):
            self._remember_readings(decision, steady_ms)
        if len(sealing.sealed):
            self._memory.emit(together(self._held).pairs(), sealing.sealed.pairs())

    def _remember_readings(self, decision: Decision, steady_ms: int) -> None:
        asked, fate, taken = decision.asked, decision.judgement.fate, decision.taken
        came, decided = fate == Fate.TAKEN, fate != Fate.CROWDED
        at_ms = asked.rows.observed_at_ms
        pairs = paired(asked.places[came], at_ms[came])
        self._memory.take(pairs, decision.judgement.due_ms, steady_ms)
        np.maximum.at(self._through_ms, asked.places[decided], at_ms[decided])
        self._past.put(*decision.screened)
        self._ring.put(taken.rows, taken.places, decision.shown)

    def through(self, decision: Decision) -> Through:
        """Return what each sensor of a remembered decision may be told."""
        if not len(decision.asked.rows):
            return _NOBODY_TOLD
        fate = decision.judgement.fate
        decided = (fate != Fate.CROWDED) & ~decision.asked.sure
        whose = decision.asked.places[decided]
        places = np.unique(whose)
        fast = np.isin(places, whose[fate[decided] == Fate.THROTTLED])
        pairs = np.unique(paired(whose, decision.asked.rows.observed_at_ms[decided]))
        starts = np.flatnonzero(np.diff(places_of(pairs))) + 1
        named = np.split(times_of(pairs), starts) if len(pairs) else []
        return Through(self._register.ids()[places], self._through_ms[places], fast, named)

    def forgotten(self, steady_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Let go of old instants, from time to time; return sensors and their floors if so."""
        if not self._memory.forget(steady_ms):
            return None
        sensor_ids = self._register.ids()
        return sensor_ids, self._memory.floor_ms[: len(sensor_ids)]

    def _grow(self) -> None:
        size = len(self._register)
        self._memory.grow(size)
        self._ring.grow(size)
        self._through_ms = grown(self._through_ms, size, 0)
        self._undated_due_ms = grown(self._undated_due_ms, size, EMPTY_AT_MS)
        if len(self._past.last) < size:
            self._past = self._past.grown(size)

    def _screened(
        self, new: Readings, ahead: NDArray[np.bool_]
    ) -> tuple[tuple[NDArray[np.intp], Past], NDArray[np.bool_]]:
        """Mark the quality of readings newer than their sensor's past; return which are odd."""
        odd = np.zeros(len(ahead), np.bool_)
        if not ahead.any():
            return _NOBODYS_PAST, odd
        places, whose = np.unique(new.places[ahead], return_inverse=True)
        past, rows = self._past.take(places), new.rows
        found = screen(
            past, whose, rows.observed_at_ms[ahead], rows.values[ahead], self._rules.probe
        )
        rows.quality[ahead] |= found.quality
        odd[ahead] = found.suspicious
        return (places, found.past), odd

    def _sealing(self, taken: Held, steady_ms: int) -> Sealing:
        """Choose what leaves intake, once enough is ripe or the ripe have waited long enough."""
        parts = [*self._held, taken] if len(taken) else self._held
        rules, raw = self._rules, not self._rules.window_ms
        if not raw and steady_ms < self._looked_ms + _LOOK_EVERY_MS:
            return Sealing(parts, NOTHING, [], self._ripe_since_ms, self._looked_ms)
        held = together(parts)
        if not len(held):
            return Sealing([held], NOTHING, [], None, steady_ms)
        latest_ms = self._memory.latest_ms.copy()
        latest_ms[taken.places] = taken.rows.observed_at_ms
        ready = ripe(held, latest_ms, steady_ms, rules.window_ms)
        if not ready.any():
            return Sealing([held], NOTHING, [], None, steady_ms)
        since_ms = steady_ms if self._ripe_since_ms is None else self._ripe_since_ms
        old = steady_ms - since_ms >= rules.batch_age_ms_max
        rows = emitted(held.take(ready), rules.window_ms)
        if not old and len(rows) < READINGS_PER_BATCH_MAX:
            return Sealing([held], NOTHING, [], since_ms, steady_ms)
        if raw and not old:  # whole batches only: what is left over is not old yet
            ready = _oldest(held, len(rows) - len(rows) % READINGS_PER_BATCH_MAX)
            rows = emitted(held.take(ready), 0)
        routine = batched(rows, READINGS_PER_BATCH_MAX)
        return Sealing([held.take(~ready)], held.take(ready), routine, None, steady_ms)


def _oldest(held: Held, count: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(held), np.bool_)
    chosen[np.argsort(held.rows.observed_at_ms, kind="stable")[:count]] = True
    return chosen
