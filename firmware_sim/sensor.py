"""Sensors that share one connection: they say what they measured until their hub has it on disk."""

import asyncio
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog

from firmware_sim.core.ledger import Entries
from firmware_sim.core.message import messages
from firmware_sim.core.pending import Pending, ResendPolicy
from firmware_sim.core.readings import Readings
from firmware_sim.ports import Broker, Ledger, Session
from wire.clock import Clock
from wire.errors import InfrastructureError, MalformedMessageError
from wire.ids import SensorId
from wire.reading import decode_status
from wire.topics import sensor_data

EVERY_STATUS: Final = "sensors/+/status"
_log = structlog.get_logger()

_IN_FLIGHT_MAX: Final = 64
_READINGS_PER_TURN: Final = 2_000
_TURN_S: Final = 0.05
_BACKOFF_MS: Final = 100
_BACKOFF_MS_MAX: Final = 2_000
_DOUBLINGS_MAX: Final = 8
assert _BACKOFF_MS << _DOUBLINGS_MAX > _BACKOFF_MS_MAX


@dataclass(slots=True)
class Tally:
    """What happened so far, for people watching.

    Attributes:
        made: Readings made.
        sent: Readings handed to the broker for the first time.
        resent: Further sendings.
        committed: Readings their hub vouched for.
        lost: Readings never sent, because nothing more could be held.
        throttled: Statuses that said a sensor speaks too fast.
        broken: Connections that broke or failed.
    """

    made: int = 0
    sent: int = 0
    resent: int = 0
    committed: int = 0
    lost: int = 0
    throttled: int = 0
    broken: int = 0


class Connection:
    """Some sensors of one hub and what they still hold."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        ledger: Ledger,
        policy: ResendPolicy,
        *,
        per_message: int = 1,
        filters: tuple[str, ...] = (EVERY_STATUS,),
    ) -> None:
        """Take the neighbours; own none of them.

        Args:
            broker: The hub's.
            clock: To date the first sending and to time resends.
            ledger: Told of every reading before it leaves.
            policy: When to resend, how much to hold.
            per_message: Readings of one sensor in one message, at most.
            filters: Topics on which the hub answers these sensors.
        """
        self._broker, self._clock, self._ledger = broker, clock, ledger
        self._pending = Pending(policy)
        self._per_message = per_message
        self._filters = filters
        self._through_ms: dict[int, int] = {}
        self._named_ms: dict[int, set[int]] = {}
        self._more = asyncio.Event()
        self._changed = asyncio.Event()
        self._ended = False
        self.tally = Tally()

    def __repr__(self) -> str:
        """Show the state."""
        return f"<Connection {self._pending!r} {self.tally}>"

    @property
    def held(self) -> int:
        """How many readings are not yet committed (kept) or not yet sent (not kept)."""
        return len(self._pending)

    @property
    def room(self) -> int:
        """How many more readings can be held."""
        return self._pending.room

    def say(self, made: Readings) -> None:
        """Enter readings in the ledger and send them as soon as may be. Never waits.

        What finds no room is lost, and stands in the ledger as not kept.
        """
        fits = np.arange(len(made)) < self._pending.room
        made.kept[~fits] = False
        now = np.full(len(made), self._clock.now_ms(), np.int64)
        rows = self._ledger.made(Entries(made, now))
        self._pending.add(made.where(fits), rows[fits])
        self.tally.made += len(made)
        self.tally.lost += int((~fits).sum())
        self._more.set()

    def end(self) -> None:
        """Never connect again: to be called before ``run`` is cancelled.

        Before Python 3.13 a connection that breaks at that very moment hides the cancellation.
        """
        self._ended = True

    async def run(self) -> None:
        """Stay connected until ended and cancelled, however often the connection breaks."""
        failures = 0
        while not self._ended:
            try:
                async with self._broker.session(self._filters) as session:
                    failures = 0
                    self._pending.rewind()
                    await self._converse(session)
            except* InfrastructureError as broken:
                failures = min(failures + 1, _DOUBLINGS_MAX)
                self.tally.broken += 1
                _log.debug("connection broke", why=str(broken.exceptions[0]), failures=failures)
            await self._clock.sleep_ms(min(_BACKOFF_MS << failures, _BACKOFF_MS_MAX))

    async def drained(self) -> None:
        """Return once nothing is held any more."""
        await self.settled_to(0)

    async def settled_to(self, most: int) -> None:
        """Return once at most ``most`` readings are held."""
        while self.held > most:
            self._changed.clear()
            await self._changed.wait()

    async def _converse(self, session: Session) -> None:
        if self._ended:
            return
        outgoing: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(_IN_FLIGHT_MAX)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(session), name="sensors-listen")
            group.create_task(self._speak(outgoing), name="sensors-speak")
            for lane in range(_IN_FLIGHT_MAX):
                group.create_task(_carry(session, outgoing), name=f"sensors-carry-{lane}")

    async def _speak(self, outgoing: "asyncio.Queue[tuple[int, bytes]]") -> None:
        while True:
            self._settle()
            taken, first = self._pending.take(self._clock.steady_ms(), _READINGS_PER_TURN)
            self.tally.sent += int(first.sum())
            self.tally.resent += int((~first).sum())
            for message in messages(taken, self._per_message if first.all() else None):
                await outgoing.put(message)
            if len(taken):
                self._changed.set()
            else:
                await self._wait_for_more()

    async def _wait_for_more(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(_TURN_S):
                await self._more.wait()
        except TimeoutError:
            return

    async def _listen(self, session: Session) -> None:
        async for topic, body in session.replies():
            try:
                sensor_id, status = int(topic.split("/")[1]), decode_status(body)
            except (MalformedMessageError, ValueError):
                _log.warning("status not understood", topic=topic)
                continue
            self.tally.throttled += status.throttled
            known = self._through_ms.get(sensor_id, -1)
            self._through_ms[sensor_id] = max(known, status.committed_through_ms)
            self._named_ms.setdefault(sensor_id, set()).update(status.committed_ms)

    def _settle(self) -> None:
        """Forget what the statuses since the last turn vouch for."""
        committed = self._pending.commit(self._through_ms, self._named_ms)
        self._through_ms.clear()
        self._named_ms.clear()
        if len(committed):
            self._ledger.committed(committed)
            self.tally.committed += len(committed)
            self._changed.set()


async def _carry(session: Session, outgoing: "asyncio.Queue[tuple[int, bytes]]") -> None:
    while True:
        sensor_id, body = await outgoing.get()
        await session.publish(sensor_data(SensorId(sensor_id)), body)
