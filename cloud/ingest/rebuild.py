"""A region's log settled again, into a store of its own: the same path, the clock of then."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import structlog

from cloud.core.arrivals import sort_out
from cloud.core.backoff import Backoff
from cloud.core.log_span import Logged, Span
from cloud.core.outcome import Outcome
from cloud.core.reach import Reach
from cloud.ingest.log_span import Log
from cloud.ingest.service import Ingest
from cloud.ingest.sift import Sieve
from cloud.ports import Store
from cloud.steps import Steps
from wire.clock import Clock
from wire.ids import UnixMs

BACKOFF: Final = Backoff(tries_max=10)
SAY_EVERY_MS: Final = 5_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Old:
    """A message as ingest takes it. See ``cloud.core.arrivals.Lent``."""

    topic: str
    body: bytes
    received_at_ms: UnixMs


class _ThenClock:
    """The log's time to date things by, ours to wait by."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.then_ms = UnixMs(0)

    def now_ms(self) -> UnixMs:
        return self.then_ms

    def steady_ms(self) -> int:
        return self._clock.steady_ms()

    async def sleep_ms(self, wait_ms: int) -> None:
        await self._clock.sleep_ms(wait_ms)


@dataclass(slots=True)
class Tally:
    """What became of the messages read.

    Attributes:
        messages: How many.
        batches: By fate, as in ``Outcome``.
        rows: ``readings``, ``evidence``, ``conflicts``, ``duplicate_rows``, ``refused_rows``.
    """

    messages: int = 0
    batches: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, done: Outcome) -> None:
        """Count one committed flush."""
        self.batches.update(done.batches)
        self.rows["readings"] += done.rows
        self.rows["evidence"] += done.evidence
        self.rows["conflicts"] += done.conflicts
        self.rows["duplicate_rows"] += done.duplicate_rows
        self.rows["refused_rows"] += done.refused_rows.total()


class Rebuild:
    """Takes a span of a log into a store. Gives no receipts: it knows nobody to give them to.

    Idempotent: the store's ledger knows what it has, so a span may be taken again at any time.
    """

    def __init__(
        self, store: Store, span: Span, clock: Clock, reach: Reach, chance: Callable[[], float]
    ) -> None:
        """Take the neighbours; ``chance`` draws from [0, 1) to spread retries."""
        self._span, self._clock = span, clock
        self._then = _ThenClock(clock)
        self._steps = Steps(clock, BACKOFF, chance)
        self._sieve = Sieve(Ingest(store, self._then, reach=reach), self._step)
        self._next = span.first
        self._said_ms = clock.steady_ms()
        self.tally = Tally()

    async def follow(self, log: Log) -> None:
        """Settle the span; after a failure, what is left of it.

        Raises:
            InfrastructureError: A neighbour is away for longer than the policy waits.
            OperatorError: Part of the span is not kept any longer.
        """
        async with aclosing(log.read(self._next, self._span.end)) as bursts:
            async for burst in bursts:
                self._then.then_ms = self._span.at(burst[-1].offset)
                await self._settle(burst)
                self._next = burst[-1].offset + 1
                self._say()

    async def _settle(self, burst: Sequence[Logged]) -> None:
        arrivals = sort_out(_Old(m.topic, m.body, self._span.at(m.offset)) for m in burst)
        self.tally.messages += len(burst)
        for _, done in await self._sieve.sift(arrivals):
            self.tally.add(done)

    async def _step(self, name: str, step: Callable[[], Awaitable[Outcome]]) -> Outcome:
        return await self._steps.done(name, step)

    def _say(self) -> None:
        now_ms = self._clock.steady_ms()
        if now_ms - self._said_ms < SAY_EVERY_MS and self._next < self._span.end:
            return
        self._said_ms = now_ms
        _log.info(
            "replaying",
            messages=self.tally.messages,
            of=self._span.end - self._span.first,
            readings=self.tally.rows["readings"],
            at_ms=self._then.then_ms,
        )
