"""A stage's steps, each taken again while a neighbour is away, and how long one has been under way.

What is under way for long is how the platform knows a stage that hangs from one with nothing to do.
"""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeVar

import structlog

from cloud.core.backoff import Backoff
from wire.clock import Clock
from wire.errors import InfrastructureError

PATIENT: Final = Backoff(wait_ms_max=1_000)  # a few processes on a neighbour that came back

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Steps:
    """The one retry loop of every stage."""

    def __init__(
        self,
        clock: Clock,
        backoff: Backoff = PATIENT,
        chance: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Take the clock, the policy, and what draws from [0, 1] to spread retries."""
        self._clock = clock
        self._backoff = backoff
        self._chance = chance
        self._numbers = count()
        self._since_ms: dict[int, int] = {}

    @property
    def under_way_ms(self) -> int:
        """How long the oldest step under way has taken; 0 if none is."""
        oldest_ms = min(self._since_ms.values(), default=None)
        return 0 if oldest_ms is None else self._clock.steady_ms() - oldest_ms

    async def done(
        self, name: str, step: Callable[[], Awaitable[T]], failed: Callable[[], None] = lambda: None
    ) -> T:
        """Return what ``step`` makes, taken again after every InfrastructureError.

        Args:
            name: For the log.
            step: May be repeated.
            failed: Told of each failure.

        Raises:
            InfrastructureError: The last one, if the policy gives up.
        """
        tries = 0
        while True:
            try:
                return await self._once(step)
            except InfrastructureError as exc:
                tries += 1
                failed()
                wait_ms = self._backoff.wait_ms(tries, self._chance())
                if worth_a_word(tries) or wait_ms is None:
                    _log.warning("again", step=name, why=str(exc), tries=tries, wait_ms=wait_ms)
                if wait_ms is None:
                    raise
            await self._clock.sleep_ms(wait_ms)

    async def _once(self, step: Callable[[], Awaitable[T]]) -> T:
        number = next(self._numbers)
        self._since_ms[number] = self._clock.steady_ms()
        try:
            return await step()
        finally:
            del self._since_ms[number]


def worth_a_word(tries: int) -> bool:
    """Return whether this failure in a row is logged: the 1st, 2nd, 4th, 8th, ..."""
    return tries & (tries - 1) == 0
