"""The shell of intake: what sensors send > the collector, in the spool's thread > their statuses.

What has arrived waits here, bounded in bytes: when there is no more room the sensors wait. Each
turn takes everything that waits and commits if that is due; under a flood a turn is a group commit.
A reading outside its band does not wait for others to gather, unless such come all the time.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from edge_agent.collect import Collector, Committed
from edge_agent.core.clock import Now
from edge_agent.ports import InTurn, SensorSide, SpoolFaultError, SpoolFullError
from wire.clock import Clock
from wire.errors import MalformedMessageError
from wire.limits import KIB, MIB, READINGS_PER_SENSOR_MESSAGE_MAX
from wire.metric import METRICS
from wire.reading import SensorMessage, encode_status, parse_sensor_message
from wire.topics import parse_sensor_data

WAITING_BYTES_MAX: Final = MIB
GATHER_MS: Final = 100
HURRY_EVERY_MS: Final = 250  # water that is always out of its band must not wear the disk out
COMMIT_READINGS_MAX: Final = 2_000
TROUBLE_PAUSE_MS: Final = 1_000
REASONS_MAX: Final = 12
REASON_CHARS_MAX: Final = 40

MESSAGE_BYTES: Final = KIB  # a parsed message in memory: four arrays and who holds them
READING_BYTES: Final = 8 + 8 + 2 + 4 * METRICS

assert MESSAGE_BYTES + READINGS_PER_SENSOR_MESSAGE_MAX * READING_BYTES <= WAITING_BYTES_MAX
assert READINGS_PER_SENSOR_MESSAGE_MAX <= COMMIT_READINGS_MAX

log = structlog.get_logger()


class _Turn(NamedTuple):
    """What one turn in the spool's thread did.

    Attributes:
        committed: Every commit made, in order.
        due_in_ms: When the next turn must be, at the latest.
        trouble: Why the spool would not take more; None if it did.
    """

    committed: tuple[Committed, ...]
    due_in_ms: int
    trouble: SpoolFaultError | SpoolFullError | None


class _Waiting(NamedTuple):
    """A message nobody has absorbed yet.

    Attributes:
        message: What it says.
        came: When.
        size: What it takes in memory, bytes.
        suspicious: Whether a value is outside its band.
    """

    message: SensorMessage
    came: Now
    size: int
    suspicious: bool


@dataclass(slots=True)
class Receive:
    """Takes what sensors send, makes it durable, and tells them.

    Attributes:
        collector: Decides and commits; called through ``in_turn`` only.
        in_turn: The spool's thread.
        sensors: The local broker.
        sealed: Called when there are new batches to send.
        clock: Time.
        counts: What happened since start, by name.
    """

    collector: Collector
    in_turn: InTurn
    sensors: SensorSide
    sealed: Callable[[], None]
    clock: Clock
    counts: Counter[str] = field(default_factory=Counter)
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _waiting_bytes: int = 0
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _hurried_ms: int = -HURRY_EVERY_MS
    _room: asyncio.Condition = field(default_factory=asyncio.Condition)
    _uncommitted: int = 0
    _trouble: SpoolFaultError | SpoolFullError | None = None

    async def run(self) -> None:
        """Serve the sensors, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.sensors.run(self.accept), name="sensors")
            tasks.create_task(self._keep(), name="intake")

    async def accept(self, topic: str, body: bytes) -> int:
        """See ``Accept``. A message nobody can read is counted, by its reason, and gone."""
        try:
            message = parse_sensor_message(body, parse_sensor_data(topic))
        except MalformedMessageError as exc:
            self._count_malformed(str(exc))
            return 1
        self.counts["ignored_fields"] += message.ignored_fields
        size = MESSAGE_BYTES + READING_BYTES * len(message.sensor_ids)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.counts["arrivals_held_back"] += 1
            async with self._room:
                await self._room.wait_for(lambda: self._waiting_bytes + size <= WAITING_BYTES_MAX)
        now, suspicious = self._now(), self.collector.suspicious(message)
        self._waiting.append(_Waiting(message, now, size, suspicious))
        self._waiting_bytes += size
        self._arrived.set()
        if self._waiting_bytes > WAITING_BYTES_MAX // 2:
            self._hurry.set()
        if suspicious and now.steady_ms - self._hurried_ms >= HURRY_EVERY_MS:
            self._hurried_ms = now.steady_ms
            self._hurry.set()
        return len(message.sensor_ids)

    async def finish(self) -> None:
        """Commit what is buffered: the last act of an agent that was told to stop."""
        turn = await self._turn(last=True)
        await self._tell(turn)

    async def _keep(self) -> None:
        while True:
            self._arrived.clear()
            self._hurry.clear()
            turn = await self._turn()
            await self._tell(turn)
            if turn.trouble is not None:
                log.error("spool takes nothing more", why=str(turn.trouble))
                await self.clock.sleep_ms(TROUBLE_PAUSE_MS)
                continue
            gather_ms = min(GATHER_MS, turn.due_in_ms)
            if not await _within(self._hurry, gather_ms):
                await _within(self._arrived, turn.due_in_ms - gather_ms)

    async def _turn(self, *, last: bool = False) -> _Turn:
        """Absorb what waits, commit if due, and let those in who wait for room."""
        taken, self._waiting = self._waiting, deque()
        try:
            return await self.in_turn(self._absorb, taken, self._now(), last)
        finally:
            # Whatever the thread did not get to stays in line, before what has come since.
            taken.extend(self._waiting)
            self._waiting = taken
            self._waiting_bytes = sum(one.size for one in taken)
            async with self._room:
                self._room.notify_all()

    def _absorb(self, taken: deque[_Waiting], now: Now, last: bool) -> _Turn:
        """Runs in the spool's thread; takes from the front of ``taken`` what it absorbs."""
        committed: list[Committed] = []
        try:
            if self._trouble is not None:
                if isinstance(self._trouble, SpoolFaultError):
                    self.collector.recover(now)
                committed.append(self._commit(now))
            while taken:
                message, came, _, suspicious = taken.popleft()
                self.collector.absorb(message, came, suspicious)
                self._uncommitted += len(message.sensor_ids)
                if self._uncommitted >= COMMIT_READINGS_MAX:
                    committed.append(self._commit(now))
            if last or self.collector.due_in_ms(now) == 0:
                committed.append(self._commit(now))
        except (SpoolFaultError, SpoolFullError) as exc:
            self._trouble = exc
            self.counts["commits_failed"] += 1
        return _Turn(tuple(committed), self.collector.due_in_ms(now), self._trouble)

    def _commit(self, now: Now) -> Committed:
        committed = self.collector.commit(now)
        self.counts["commits"] += 1
        self._uncommitted = 0
        self._trouble = None
        return committed

    async def _tell(self, turn: _Turn) -> None:
        for committed in turn.committed:
            if committed.sealed:
                self.sealed()
            await self.sensors.tell(
                (sensor_id, encode_status(status)) for sensor_id, status in committed.statuses
            )

    def _now(self) -> Now:
        return Now(self.clock.now_ms(), self.clock.steady_ms())

    def _count_malformed(self, why: str) -> None:
        """Count by reason; reasons may carry positions and pieces of a message, names may not."""
        self.counts["messages_malformed"] += 1
        reason = re.sub("[^a-z]+", "_", why.split(":")[0].lower())[:REASON_CHARS_MAX].strip("_")
        name = f"malformed_{reason}"
        known = sum(one.startswith("malformed_") for one in self.counts)
        if name not in self.counts and known >= REASONS_MAX:
            name = "malformed_otherwise"
        self.counts[name] += 1


async def _within(event: asyncio.Event, wait_ms: int) -> bool:
    """Wait for an event so long; return whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_ms / 1_000):
            await event.wait()
    return event.is_set()
