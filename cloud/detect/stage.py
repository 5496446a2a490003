"""Detect as a process runs it: readers and a ticker, never two inside ``Detect`` at once.

Turns are short and taken in the order they were asked for, so a reader of urgent batches never
waits for more than one slice of routine ones, however many of those there are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from cloud.detect.service import Detect
from cloud.detect.sweep import SWEEP_EVERY_MS, Sweep
from cloud.ports import Inbox
from cloud.steps import Steps
from wire.clock import Clock

TICK_MS: Final = 200
SLICE: Final = 4  # deliveries evaluated before others, and the connections, have their turn

T = TypeVar("T")


class Stage:
    """Drives the steps. A failing neighbour pauses them; nothing is given up."""

    def __init__(self, detect: Detect, sweep: Sweep, clock: Clock) -> None:
        """Take the steps and the clock."""
        self._detect = detect
        self._sweep = sweep
        self._clock = clock
        self._turn = asyncio.Lock()
        self.steps = Steps(clock)

    async def read(self, inbox: Inbox) -> None:
        """Take deliveries until the broker is gone.

        Raises:
            InfrastructureError: The broker is gone.
        """
        async for deliveries in inbox.deliveries():
            for first in range(0, len(deliveries), SLICE):
                some = deliveries[first : first + SLICE]
                await self._in_turn("take", partial(self._detect.take, some))
                await asyncio.sleep(0)

    async def tick(self) -> None:
        """Commit what has waited, sweep and refresh the bands, until cancelled."""
        swept_at_ms = self._clock.steady_ms() - SWEEP_EVERY_MS
        while True:
            while await self._in_turn("settle", self._detect.settle):
                await self._clock.sleep_ms(1)
            if self._clock.steady_ms() - swept_at_ms >= SWEEP_EVERY_MS:
                await self._in_turn("refresh", self._detect.refresh)
                swept_at_ms = self._clock.steady_ms()
                while await self._in_turn("sweep", self._sweep.sweep):
                    await self._clock.sleep_ms(1)
            await self._clock.sleep_ms(TICK_MS)

    async def _in_turn(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        async def alone() -> T:
            async with self._turn:
                return await step()

        return await self.steps.done(name, alone)
