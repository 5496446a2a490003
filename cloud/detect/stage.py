"""Detect as a process runs it: readers and a ticker, never two inside ``Detect`` at once.

Turns are short and taken in the order they were asked for, so a reader of urgent batches never
waits for more than one slice of routine ones, however many of those there are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog

from cloud.detect.service import Detect
from cloud.detect.sweep import SWEEP_EVERY_MS, Sweep
from cloud.ports import Inbox
from wire.clock import Clock
from wire.errors import InfrastructureError

TICK_MS: Final = 200
SLICE: Final = 4  # deliveries evaluated before others, and the connections, have their turn
_RETRY_MS: Final = 200
_RETRY_MS_MAX: Final = 5_000

_log = structlog.get_logger(__name__)


class Stage:
    """Drives the steps. A failing neighbour pauses them; nothing is given up."""

    def __init__(self, detect: Detect, sweep: Sweep, clock: Clock) -> None:
        """Take the steps and the clock."""
        self._detect = detect
        self._sweep = sweep
        self._clock = clock
        self._turn = asyncio.Lock()

    async def read(self, inbox: Inbox) -> None:
        """Take deliveries until the broker is gone.

        Raises:
            InfrastructureError: The broker is gone.
        """
        async for deliveries in inbox.deliveries():
            for first in range(0, len(deliveries), SLICE):
                some = deliveries[first : first + SLICE]
                await self._until_done("take", partial(self._detect.take, some))
                await asyncio.sleep(0)

    async def tick(self) -> None:
        """Commit what has waited, sweep and refresh the bands, until cancelled."""
        swept_at_ms = self._clock.steady_ms() - SWEEP_EVERY_MS
        while True:
            while await self._until_done("settle", self._detect.settle):
                await self._clock.sleep_ms(1)
            if self._clock.steady_ms() - swept_at_ms >= SWEEP_EVERY_MS:
                await self._until_done("refresh", self._detect.refresh)
                swept_at_ms = self._clock.steady_ms()
                while await self._until_done("sweep", self._sweep.sweep):
                    await self._clock.sleep_ms(1)
            await self._clock.sleep_ms(TICK_MS)

    async def _until_done(self, name: str, step: Callable[[], Awaitable[object]]) -> object:
        retry_ms = _RETRY_MS
        while True:
            try:
                async with self._turn:
                    return await step()
            except InfrastructureError as exc:
                _log.warning("trying again", step=name, why=str(exc), after_ms=retry_ms)
            await self._clock.sleep_ms(retry_ms)
            retry_ms = min(2 * retry_ms, _RETRY_MS_MAX)
