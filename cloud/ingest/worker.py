"""The stage at work: one flush in flight, the next being built, the rest waiting outside."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import structlog

from cloud.core.arrivals import Arrivals
from cloud.core.backoff import Backoff
from cloud.core.fresh import encode_fresh, fresh
from cloud.core.outcome import Outcome
from cloud.core.receipts import answers
from cloud.core.rows import Fault
from cloud.ingest.meters import Meters
from cloud.ingest.service import Flush, Ingest
from cloud.ingest.sift import FAULTS, Credit, Settled, Sieve
from cloud.ports import Delivery, Inbox, Lanes
from cloud.steps import Steps
from cloud.tasks import together
from wire.clock import Clock
from wire.topics import Lane

ROWS_MAX: Final = 100_000
MESSAGES_MAX: Final = 5_000
AGE_MS_MAX: Final = 100
FRESH_EVERY_MS: Final = 1_000
BACKOFF: Final = Backoff(tries_max=100)  # then the broker's hubs send it again, to a new worker
ALARMING: Final = frozenset({"refused", "reused", "left", "impostors", "malformed", "unkept"})

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Load:
    """What the next flush is made of."""

    since_ms: int
    arrivals: Arrivals = field(default_factory=Arrivals)
    deliveries: list[Delivery] = field(default_factory=list)
    rows: int = 0

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return self.rows >= ROWS_MAX or len(self.deliveries) >= MESSAGES_MAX


class Worker:
    """One ingest process between one inbox and one store."""

    def __init__(
        self,
        ingest: Ingest,
        inbox: Inbox,
        lanes: Lanes,
        store_id: UUID,
        clock: Clock,
        meters: Meters,
        chance: Callable[[], float],
    ) -> None:
        """Take the neighbours; ``chance`` draws from [0, 1) to spread retries."""
        self._ingest, self._inbox, self._lanes = ingest, inbox, lanes
        self._store_id, self._clock, self._meters = store_id, clock, meters
        self.steps = Steps(clock, BACKOFF, chance)
        self._load = Load(0)
        self._came, self._taken = asyncio.Event(), asyncio.Event()
        self._ready: asyncio.Queue[tuple[Load, Flush | None]] = asyncio.Queue(maxsize=1)
        self._told_ms = -FRESH_EVERY_MS
        self.credit = Credit()
        self._sieve = Sieve(ingest, self.step, self.credit)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            InfrastructureError: The broker is gone, or the store for longer than the policy waits.
        """
        await together(self._receive(), self._prepare(), self._commit())

    async def _receive(self) -> None:
        async for burst in self._inbox.deliveries():
            for delivery in burst:
                while self._load.full:
                    self._taken.clear()
                    await self._taken.wait()
                if not self._load.deliveries:
                    self._load.since_ms = self._clock.steady_ms()
                self._load.rows += self._load.arrivals.add(delivery)
                self._load.deliveries.append(delivery)
                self._came.set()

    async def _prepare(self) -> None:
        while True:
            load = await self._due()
            await self._ready.put((load, await self._prepared(load)))

    async def _prepared(self, load: Load) -> Flush | None:
        try:
            return await self.step("prepare", partial(self._ingest.prepare, load.arrivals))
        except FAULTS:
            return None

    async def _due(self) -> Load:
        """Return the next load once it is full or old enough."""
        while not self._load.deliveries:
            self._came.clear()
            await self._came.wait()
        while not self._load.full:
            left_ms = self._load.since_ms + AGE_MS_MAX - self._clock.steady_ms()
            if left_ms <= 0:
                break
            await self._clock.sleep_ms(min(left_ms, 10))
        load, self._load = self._load, Load(0)
        self._taken.set()
        return load

    async def _commit(self) -> None:
        while True:
            load, flush = await self._ready.get()
            began_ms = self._clock.steady_ms()
            settled = await self._settled(load, flush)
            now_ms = self._clock.now_ms()
            # Only now, when the commit is behind us, may anybody be told.
            for arrivals, done in settled:
                await self._lanes.publish(answers(arrivals, done.entries, self._store_id, now_ms))
            for delivery in load.deliveries:
                await delivery.ack()
            took_s = (self._clock.steady_ms() - began_ms) / 1_000
            oldest_s = (now_ms - load.deliveries[0].received_at_ms) / 1_000
            for _, done in settled:
                self._meters.stored(done, took_s, oldest_s, now_ms)
                self._say(done, took_s)
                await self._tell(done)

    async def _settled(self, load: Load, flush: Flush | None) -> Settled:
        """Settle a load at once; or in parts, if something in it makes us fail."""
        if flush is not None:
            with suppress(*FAULTS):
                done = await self.step("commit", partial(self._ingest.commit, flush))
                self.credit.earn(done)
                return [(load.arrivals, done)]
        return await self._sieve.sift(load.arrivals)

    async def step(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        """Return what a step makes, taken again while a neighbour is away, each time counted."""
        return await self.steps.done(name, step, self._meters.failed)

    async def _tell(self, done: Outcome) -> None:
        """Say on the medium lane what is new, at most once a second."""
        now_ms = self._clock.steady_ms()
        if done.fresh is None or not len(done.fresh) or now_ms - self._told_ms < FRESH_EVERY_MS:
            return
        self._told_ms = now_ms
        news = fresh(done.fresh, self._clock.now_ms())
        await self._lanes.send(Lane.MEDIUM, encode_fresh(news))

    def _say(self, done: Outcome, took_s: float) -> None:
        fates = {fate: batches for fate, batches in done.batches.items() if batches}
        alarming = fates.keys() & ALARMING or Fault.CROWDED in done.refused_rows
        (_log.warning if alarming else _log.info)(
            "flushed",
            rows=done.rows,
            evidence=done.evidence,
            refused_rows=dict(done.refused_rows),
            duplicate_rows=done.duplicate_rows,
            conflicts=done.conflicts,
            shed=done.shed,
            took_s=round(took_s, 3),
            **fates,
        )
