"""The batches in flight, and which may fly next: a state machine without clock, chance or I/O.

A flight is forgotten on a receipt and on nothing else; a PUBACK is not even an event here.

    waiting --sent--> FLYING --timeout--> RESTING --its pause over--> waiting
                         |  receipt          |  receipt
                         +------> gone <-----+

A flight takes a place in the window until it is overdue, so batches that never get a receipt do not
stop those that do. What is urgent has a window of its own, which no timeout narrows: receipts come
from the store, which may be busy, and detection does not wait for the store. After a reconnect
nothing of an epoch that was asked about is sent again until the answer is here, or its deadline;
what was certainly never sent goes at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_agent.core.spooled import Spooled, Urgency
from wire.ids import BatchKey, Epoch
from wire.limits import BATCH_BYTES_MAX, KIB, MIB, RESEND_AFTER_MS, RESEND_AFTER_MS_MAX
from wire.ranges import Ranges, contains

WINDOW_MIN: Final = 4
WINDOW_START: Final = 20
WINDOW_MAX: Final = 100
BYTES_IN_FLIGHT_MAX: Final = 2 * MIB
URGENT_WINDOW: Final = 400
URGENT_BYTES_MAX: Final = MIB
FLIGHTS_MAX: Final = 2_048
BACKLOG_FLIGHTS_MAX: Final = FLIGHTS_MAX // 2
ANSWER_WITHIN_MS: Final = 5_000
JITTER_SHARE: Final = 0.25

assert 1 <= WINDOW_MIN <= WINDOW_START <= WINDOW_MAX <= BACKLOG_FLIGHTS_MAX
assert BYTES_IN_FLIGHT_MAX >= WINDOW_MIN * BATCH_BYTES_MAX
assert URGENT_BYTES_MAX >= WINDOW_MIN * BATCH_BYTES_MAX
assert URGENT_WINDOW + WINDOW_MAX <= BACKLOG_FLIGHTS_MAX
assert FLIGHTS_MAX * KIB <= 4 * MIB, "the table itself must stay small beside the agent"
assert ANSWER_WITHIN_MS < RESEND_AFTER_MS


@dataclass(slots=True)
class Flight:
    """A batch that was sent and has no receipt yet.

    Attributes:
        size: Bytes on the wire.
        sent_ms: When it was last sent.
        overdue_ms: When its place in the window is given to another.
        again_ms: When it may be sent again; never before ``overdue_ms``.
        times: How often it was sent.
        urgent: Which window it takes a place in.
        flying: Whether it holds that place.
    """

    size: int
    sent_ms: int
    overdue_ms: int
    again_ms: int
    times: int
    urgent: bool
    flying: bool = True


@dataclass(slots=True)
class Outbox:
    """See the module. Times are steady milliseconds, handed in by the caller.

    Attributes:
        epoch: This life of the agent. Of earlier lives nobody knows what was sent.
    """

    epoch: Epoch
    _online: bool = False
    _window: int = WINDOW_START
    _halved_ms: int = -(2**62)
    _heard_ms: int = -(2**62)
    _silent: bool = False
    _asked: dict[Epoch, int] = field(default_factory=dict)
    _flights: dict[BatchKey, Flight] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Show the state, for logs and tests."""
        state = "offline" if not self._online else "asking" if self._asked else "online"
        return (
            f"<Outbox {state}, {len(self._flying(urgent=False))} of {self._window} flying, "
            f"{len(self._flying(urgent=True))} urgent, "
            f"{len(self._flights) - self.in_flight} resting>"
        )

    @property
    def in_flight(self) -> int:
        """How many batches hold a place in a window."""
        return sum(flight.flying for flight in self._flights.values())

    @property
    def window(self) -> int:
        """How many batches may fly at once now, beside urgent ones."""
        return self._window

    def connected(self, asked: Collection[Epoch], now_ms: int) -> None:
        """Open the window; a hello that names the epochs ``asked`` goes out now."""
        self._online = True
        self._asked = dict.fromkeys(asked, now_ms + ANSWER_WITHIN_MS)
        self._heard_ms = now_ms

    def disconnected(self) -> None:
        """Close the window: what was in flight may or may not have arrived."""
        self._online = False
        self._asked.clear()
        self._land_all()

    def not_now(self, now_ms: int) -> set[BatchKey]:
        """Return the batches that are in flight, or resting before they may fly again."""
        return {
            key
            for key, flight in self._flights.items()
            if flight.flying or flight.again_ms > now_ms or key.epoch in self._asked
        }

    def offer(self, waiting: Sequence[Spooled], now_ms: int, *, whole: bool) -> list[Spooled]:
        """Return which of the waiting batches to send now, in that order. Changes no flight.

        Args:
            waiting: Batches of the spool in the order they should go, without ``not_now``.
            now_ms: Steady time.
            whole: Whether these are all there are. Flights over that the spool no longer holds are
                then let go: it gave them up under another name (a tombstone).
        """
        if whole:
            self._let_go_besides({spooled.key for spooled in waiting}, now_ms)
        if not self._online:
            return []
        chosen: list[Spooled] = []
        rooms = {urgent: self._room(urgent=urgent) for urgent in (True, False)}
        for spooled in sorted(waiting, key=lambda spooled: spooled.urgency):
            if not self._may_fly(spooled, len(chosen), now_ms):
                continue
            urgent = spooled.urgency is Urgency.URGENT
            places, room = rooms[urgent]
            fits = places > 0 and spooled.size <= room
            # Whoever does not fit is not overtaken by smaller ones behind it.
            rooms[urgent] = (places - 1, room - spooled.size) if fits else (0, 0)
            if fits:
                chosen.append(spooled)
        return chosen

    def sent(self, spooled: Spooled, now_ms: int, jitter: float) -> None:
        """Note that a batch goes out now.

        Args:
            spooled: The batch; of those ``offer`` chose.
            now_ms: Steady time.
            jitter: In 0..1; spreads the resends of batches sent together.
        """
        before = self._flights.get(spooled.key)
        times = 1 if before is None else before.times + 1
        pause_ms = min(RESEND_AFTER_MS << min(times - 1, 10), RESEND_AFTER_MS_MAX)
        again_ms = now_ms + round(pause_ms * (1 + JITTER_SHARE * jitter))
        urgent = spooled.urgency is Urgency.URGENT
        self._flights[spooled.key] = Flight(
            spooled.size, now_ms, now_ms + RESEND_AFTER_MS, again_ms, times, urgent
        )

    def receipt(self, epoch: Epoch, received: Ranges, now_ms: int) -> int:
        """Forget the flights a receipt covers; return how many. Idempotent, in any order."""
        self._asked.pop(epoch, None)
        covered = [
            key for key in self._flights if key.epoch == epoch and contains(received, key.sequence)
        ]
        for key in covered:
            del self._flights[key]
        if covered:
            self._window = min(WINDOW_MAX, self._window + len(covered))
            self._heard_ms = now_ms
            if self._silent:
                self._silent = False
                self._wake_resting()
        return len(covered)

    def timeout(self, now_ms: int) -> int:
        """Take the places of overdue flights away and halve the window; return how many."""
        self._asked = {epoch: until for epoch, until in self._asked.items() if until > now_ms}
        overdue = [f for f in self._flights.values() if f.flying and f.overdue_ms <= now_ms]
        for flight in overdue:
            flight.flying = False
        if any(flight.sent_ms >= self._halved_ms for flight in overdue if not flight.urgent):
            self._window = max(WINDOW_MIN, self._window // 2)
            self._halved_ms = now_ms
            self._silent = self._silent or now_ms - self._heard_ms >= RESEND_AFTER_MS
        return len(overdue)

    def wake_ms(self, now_ms: int) -> int | None:
        """Return when time alone changes what may be sent; None if only an event can."""
        if not self._online:
            return None
        times = [*self._asked.values()]
        for flight in self._flights.values():
            times.append(flight.overdue_ms if flight.flying else flight.again_ms)
        return min((time for time in times if time > now_ms), default=None)

    def _flying(self, *, urgent: bool) -> list[Flight]:
        return [f for f in self._flights.values() if f.flying and f.urgent is urgent]

    def _room(self, *, urgent: bool) -> tuple[int, int]:
        """Return how many more batches, and bytes, may fly."""
        flying = self._flying(urgent=urgent)
        places, room = (
            (URGENT_WINDOW, URGENT_BYTES_MAX) if urgent else (self._window, BYTES_IN_FLIGHT_MAX)
        )
        return places - len(flying), room - sum(flight.size for flight in flying)

    def _may_fly(self, spooled: Spooled, chosen: int, now_ms: int) -> bool:
        flight = self._flights.get(spooled.key)
        if flight is not None:
            resting = not flight.flying and flight.again_ms <= now_ms
            return resting and spooled.key.epoch not in self._asked
        if spooled.key.epoch in self._asked and spooled.key.epoch != self.epoch:
            return False
        backlog = spooled.urgency is Urgency.BACKLOG
        return len(self._flights) + chosen < (BACKLOG_FLIGHTS_MAX if backlog else FLIGHTS_MAX)

    def _let_go_besides(self, held: set[BatchKey], now_ms: int) -> None:
        for key in self._flights.keys() - held - self.not_now(now_ms):
            del self._flights[key]

    def _wake_resting(self) -> None:
        """The store speaks again after a silence: what it missed need not wait out its pause."""
        for flight in self._flights.values():
            if not flight.flying:
                flight.again_ms = flight.overdue_ms

    def _land_all(self) -> None:
        for flight in self._flights.values():
            flight.flying = False
            flight.again_ms = flight.overdue_ms = flight.sent_ms
