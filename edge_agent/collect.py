"""Intake: a sensor's readings become durable, then judged, then rows of a batch.

Everything here is synchronous and runs in the spool's thread. ``absorb`` only buffers; ``commit``
decides everything, makes it durable in one transaction, and only then remembers it: a failed commit
has changed nothing, and the buffer is offered again.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import dating
from edge_agent.core.clock import HubClock, Now
from edge_agent.core.intake import Decision, Intake, Readings, Rules, Through
from edge_agent.core.memory import Fate
from edge_agent.core.rows import NONE, Rows, joined
from edge_agent.core.scoring import Scored, Scoring
from edge_agent.ports import Change, IntakeStore, SpoolFaultError
from water.bands import Bands
from water.model import Model
from water.screening import Plausible, out_of_band
from wire.ids import BatchKey, SensorId, UnixMs
from wire.limits import READINGS_PER_BATCH_MAX, READINGS_PER_SENSOR_MESSAGE_MAX
from wire.quality import Quality
from wire.reading import NO_TIME, SensorMessage, StatusMessage

BUFFERED_READINGS_MAX: Final = 10_000
"""More than this unwritten is the shell's failure to wait."""
_DATED_AT_ONCE: Final = 2_000

assert READINGS_PER_SENSOR_MESSAGE_MAX < BUFFERED_READINGS_MAX


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """What the hub was told about its intake.

    Attributes:
        boot: Which boot of the machine this is: what steady time counts from.
        window_ms: Length of a window, aligned to observed time; 0 = raw rows.
        clock_trusted: Whether the machine's wall clock is kept right.
        backfill: Whether the readings are history: raw rows, no evidence.
        commit_readings_max: So many buffered readings are due.
        commit_age_ms_max: A reading is due after this long.
        batch_age_ms_max: A row is sealed at most this long after its window is over.
        by_name: Whether sensors are told of single readings: somebody else's broker acknowledges
            what dies with us, so that a later reading must not cover an earlier one.
    """

    boot: str
    window_ms: int = 10_000
    clock_trusted: bool = True
    backfill: bool = False
    commit_readings_max: int = 100
    commit_age_ms_max: int = 1_000
    batch_age_ms_max: int = 1_000
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit made durable.

    Attributes:
        statuses: For each sensor with a reading in it, to be published now; by name, several.
        sealed: Keys of the batches sealed in it, the urgent first.
        urgent: Whether there is evidence among them: send at once.
    """

    statuses: tuple[tuple[SensorId, StatusMessage], ...] = ()
    sealed: tuple[BatchKey, ...] = ()
    urgent: bool = False


@dataclass(slots=True)
class _Buffer:
    """Messages not committed yet, when they came, and what UTC minus steady time was then.

    ``again`` is set when they were offered to a spool that failed, so that dates must not move.
    """

    messages: list[tuple[SensorMessage, Now, int | None]] = field(default_factory=list)
    readings: int = 0
    suspicious: bool = False
    again: bool = False


class _Undated(NamedTuple):
    """Readings nobody can date yet, and the buckets that let them through."""

    rows: Rows
    due_ms: NDArray[np.int64] | None


_FATES: Final = [fate.name.lower() for fate in Fate]
_NO_READINGS: Final = Readings(
    NONE, np.empty(0, np.intp), np.empty(0, np.bool_), np.empty(0, np.bool_)
)


class Collector:
    """A hub's intake, in the spool's own thread."""

    def __init__(
        self,
        store: IntakeStore,
        settings: CollectSettings,
        healthy: Bands,
        probe: Plausible,
        now: Now,
        model: Model | None = None,
    ) -> None:
        """Take up what the spool's last life left in intake.

        Args:
            store: The spool.
            settings: See there.
            healthy: Bands of the water the hub stands in.
            probe: How healthy probes behave.
            now: Both clocks.
            model: Scores what is sealed; None = nothing is judged.
        """
        self._store, self._settings = store, settings
        self._scoring = Scoring(model)
        window_ms = 0 if settings.backfill else settings.window_ms
        age_ms_max = settings.batch_age_ms_max
        self._rules = Rules(window_ms, age_ms_max, not settings.backfill, healthy, probe)
        self._clock = HubClock(settings.clock_trusted).look(now)
        self._stepped = False
        self._buffer = _Buffer()
        self.counts: Counter[str] = Counter()
        self._load(now)

    def __repr__(self) -> str:
        """Show what waits where."""
        waiting = f"buffered={self._buffer.readings}, held={self._intake.held}"
        return f"Collector({waiting}, {dict(self.counts)})"

    @property
    def clock(self) -> HubClock:
        """What the hub knows of the time."""
        return self._clock

    @property
    def buffered(self) -> int:
        """How many readings are absorbed and not committed."""
        return self._buffer.readings

    def suspicious(self, message: SensorMessage) -> bool:
        """Return whether a value is outside its band. Reads nothing that changes: any thread."""
        return bool(out_of_band(message.values, self._rules.healthy).any())

    def absorb(self, message: SensorMessage, now: Now, suspicious: bool | None = None) -> bool:
        """Buffer a message's readings; return whether ``commit`` is due now.

        It is when enough readings wait, when the first has waited long enough, or at once when the
        message is ``suspicious`` (None: not looked at yet). Never more than
        ``BUFFERED_READINGS_MAX`` readings may wait.
        """
        buffer = self._buffer
        assert buffer.readings < BUFFERED_READINGS_MAX, "absorbing without committing"
        buffer.messages.append((message, now, self._clock.offset_ms))
        buffer.readings += len(message.sensor_ids)
        buffer.suspicious |= self.suspicious(message) if suspicious is None else suspicious
        return self.due_in_ms(now) == 0

    def due_in_ms(self, now: Now) -> int:
        """Return how long ``commit`` may wait, 0 to ``commit_age_ms_max``."""
        buffer, age_ms_max = self._buffer, self._settings.commit_age_ms_max
        many = buffer.readings >= self._settings.commit_readings_max
        if buffer.suspicious or many or (self._waiting and self._clock.offset_ms is not None):
            return 0
        since_ms = buffer.messages[0][1].steady_ms if buffer.messages else self._committed_ms
        return min(max(0, since_ms + age_ms_max - now.steady_ms), age_ms_max)

    def hear(self, cloud_ms: int, now: Now) -> None:
        """Learn the cloud's time from a receipt."""
        self._set(self._clock.hear(cloud_ms, now))

    def recover(self, now: Now) -> None:
        """Reopen the spool after a ``SpoolFaultError`` and start from what is really in it.

        What is buffered stays so and is offered again: what did get to disk is then a duplicate.

        Raises:
            SpoolFaultError: The disk is still not well; try later.
        """
        self._store.reopen()
        self._buffer.again = True
        self._load(now)

    def commit(self, now: Now) -> Committed:
        """Make everything absorbed durable, and seal what is ripe: one transaction.

        To be called when due, and at least every ``commit_age_ms_max`` even with nothing absorbed.

        A status covers, per sensor, everything this hub has decided: ``committed_through_ms`` is
        the greatest time of any reading of the sensor that is on disk, a known duplicate, throttled
        or stale. Everything it has seen is decided in the same commit, so nothing it has seen up to
        that time is undecided; it never goes back. What it has not seen it cannot know of: a sensor
        must send in the order of time, and after every new connection first resend, in that order,
        what is not covered. One that sends a newer reading before an older one may hear the older
        covered before it is sent; it is still taken when it comes, but the promise is void for it.

        Raises:
            SpoolFaultError: See ``recover``.
            SpoolFullError: No room. Everything stays buffered; commit again later.
        """
        if not self._store.whole:
            # The way up may meet a fault while nothing is there to be written: only we reopen.
            raise SpoolFaultError("the spool met a fault")
        self._set(self._clock.look(now))
        if self._stepped:
            self._intake.suspect()
        fresh, undated = self._arrived(now)
        waited, through = self._dated(now)
        decision = self._intake.decide(_both(waited, fresh), now.steady_ms)
        scored = self._scoring.score(decision.sealing.routine)
        change = self._change(decision, scored, undated, through)
        sealed = self._store.apply(change, now.steady_ms) if _changes(change) else ()
        self._remember(decision, scored, undated, now)
        return Committed(
            tuple(_statuses(self._intake.through(decision), self._settings.by_name)),
            tuple(sealed),
            bool(change.evidence),
        )

    def _load(self, now: Now) -> None:
        kept = self._store.load()
        held = (kept.held, kept.stamped)
        self._intake = Intake(self._rules, held, kept.emitted, kept.floors, now.steady_ms)
        self._waiting = len(self._store.undated(1).rows) > 0
        self._committed_ms = now.steady_ms

    def _set(self, clock: HubClock) -> None:
        self._clock = clock
        self._stepped |= clock.step_seen
        self.counts["clock_steps"] += clock.step_seen

    def _arrived(self, now: Now) -> tuple[Readings, _Undated]:
        """Return what is buffered: dated by sensor or hub, and what nobody can date yet."""
        messages = self._buffer.messages
        if not messages:
            return _NO_READINGS, _Undated(NONE, None)
        rows = joined([_rows(message) for message, *_ in messages])
        sizes = [len(message.sensor_ids) for message, *_ in messages]
        came_ms = np.repeat([came.steady_ms for _, came, _ in messages], sizes)
        places = self._intake.places(rows.sensor_ids)
        timeless = rows.observed_at_ms == NO_TIME
        stamped, undated = timeless, _Undated(NONE, None)
        offset_ms = self._clock.offset_ms
        if timeless.any() and offset_ms is None:
            admitted, due_ms = self._intake.pace(places[timeless], came_ms[timeless])
            rows.observed_at_ms[timeless] = came_ms[timeless]
            undated = _Undated(rows.take(timeless).take(admitted), due_ms)
            rows, places, stamped = rows.take(~timeless), places[~timeless], stamped[~timeless]
        elif offset_ms is not None and timeless.any():
            # Once offered, a date never moves, though the spool may fail and the clock be set.
            offsets = [offset_ms if then is None else then for *_, then in messages]
            fixed = zip(messages, offsets, strict=True)
            messages[:] = [(message, came, then) for (message, came, _), then in fixed]
            at_ms = (came_ms + np.repeat(offsets, sizes))[timeless]
            again = self._buffer.again
            rows.observed_at_ms[timeless] = self._intake.stamp(places[timeless], at_ms, again)
            rows.quality[timeless] |= Quality.TIME_SUSPECT * self._clock.suspect(now)
        return Readings(rows, places, stamped, np.zeros(len(rows), np.bool_)), undated

    def _dated(self, now: Now) -> tuple[Readings, int]:
        """Return readings that waited for a trusted clock, dated now, and the last one's number."""
        offset_ms = self._clock.offset_ms
        if not self._waiting or offset_ms is None:
            return _NO_READINGS, 0
        found = self._store.undated(_DATED_AT_ONCE)
        if not len(found.rows):
            self._waiting = False
            return _NO_READINGS, 0
        boot, rows = self._settings.boot, found.rows
        at_ms = dating.dated(rows.observed_at_ms, found.boots, found.boot_ends_ms, boot, offset_ms)
        first = np.arange(dating.whole_windows(at_ms, found.more, self._rules.window_ms))
        rows = rows.take(first)
        places = self._intake.places(rows.sensor_ids)
        rows.observed_at_ms[:] = self._intake.stamp(places, at_ms[first], False)
        rows.quality[found.boots[first] != boot] |= Quality.TIME_SUSPECT
        yes = np.ones(len(rows), np.bool_)
        return Readings(rows, places, yes, yes), int(found.numbers[first[-1]])

    def _change(
        self, decision: Decision, scored: Scored, undated: _Undated, through: int
    ) -> Change:
        shown, sealing = decision.shown.rows, decision.sealing
        evidence = [
            shown.take(np.arange(low, min(low + READINGS_PER_BATCH_MAX, len(shown))))
            for low in range(0, len(shown), READINGS_PER_BATCH_MAX)
        ]
        return Change(
            decision.taken.rows,
            decision.taken.stamped,
            undated.rows,
            self._settings.boot,
            through,
            self._stepped,
            evidence,
            sealing.routine,
            scored.parts,
            sealing.sealed.rows,
        )

    def _remember(self, decision: Decision, scored: Scored, undated: _Undated, now: Now) -> None:
        self._intake.remember(decision, now.steady_ms)
        self._scoring.remember(scored)
        self.counts["rows_scored"] += scored.judged()
        if undated.due_ms is not None:
            self._intake.paced(undated.due_ms)
            self._waiting = True
        self._count(decision)
        self.counts["undated"] += len(undated.rows)
        self._stepped, self._buffer, self._committed_ms = False, _Buffer(), now.steady_ms
        forgotten = self._intake.forgotten(now.steady_ms)
        if forgotten is not None:
            self._store.forget(*forgotten)

    def _count(self, decision: Decision) -> None:
        fates = np.bincount(decision.judgement.fate, minlength=len(_FATES)).tolist()
        for fate, readings in zip(_FATES, fates, strict=True):
            self.counts[fate] += readings
        late = (decision.taken.rows.quality & Quality.LATE) != 0
        self.counts["late"] += int(np.count_nonzero(late))
        self.counts["evidence_rows"] += len(decision.shown.rows)
        refused = sum(int(m.refused_values.sum()) for m, *_ in self._buffer.messages)
        self.counts["refused_values"] += refused


def _statuses(told: Through, by_name: bool) -> Iterator[tuple[SensorId, StatusMessage]]:
    """Yield each sensor's status; by name, as many as it takes."""
    whose, through_ms, throttled, named = told
    for sensor_id, at_ms, fast, instants in zip(
        whose.tolist(), through_ms.tolist(), throttled.tolist(), named, strict=True
    ):
        if not by_name:
            yield SensorId(sensor_id), StatusMessage(UnixMs(at_ms), fast)
            continue
        for low in range(0, len(instants), READINGS_PER_SENSOR_MESSAGE_MAX):
            some = tuple(instants[low : low + READINGS_PER_SENSOR_MESSAGE_MAX].tolist())
            yield SensorId(sensor_id), StatusMessage(UnixMs(0), fast, some)


def _rows(message: SensorMessage) -> Rows:
    n = len(message.sensor_ids)
    marks = (message.refused_values > 0) * np.int16(Quality.REFUSED_VALUE)
    return Rows(
        message.sensor_ids,
        message.observed_at_ms.copy(),
        message.values,
        marks,
        np.ones(n, np.int32),
    )


def _both(first: Readings, second: Readings) -> Readings:
    if not len(first.rows):
        return second
    return Readings(
        joined([first.rows, second.rows]),
        np.concatenate([first.places, second.places]),
        np.concatenate([first.stamped, second.stamped]),
        np.concatenate([first.sure, second.sure]),
    )


def _changes(change: Change) -> bool:
    parts = (change.taken, change.undated, change.sealed)
    return any(map(len, parts)) or change.suspect or change.dated_through > 0
