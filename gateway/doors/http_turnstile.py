"""A token per reading, asked for many messages at once: whoever comes while we ask, asks next."""

import asyncio
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.core.buckets import LocalBuckets
from gateway.ports import Buckets, DoorMeter
from wire.clock import Clock
from wire.errors import InfrastructureError

AT_ONCE_MAX: Final = 256
ASK_AGAIN_AFTER_MS: Final = 1_000
log = structlog.get_logger()


class Turnstile:
    """Lets messages in at their sensors' rate.

    Every door asks the shared buckets. While those do not answer it judges by its own, so a sensor
    that reaches ``n`` doors may for that time speak ``n`` times as fast; such messages are counted.
    """

    def __init__(
        self,
        shared: Buckets | None,
        clock: Clock,
        meter: DoorMeter,
        local: LocalBuckets | None = None,
    ) -> None:
        """Take the buckets all doors share, None for a door that stands alone, and its own."""
        self._shared, self._clock, self._meter = shared, clock, meter
        self._local = LocalBuckets() if local is None else local
        self._queue: list[tuple[NDArray[np.int64], asyncio.Future[int]]] = []
        self._came = asyncio.Event()
        self._ask_again_ms = 0

    async def take(self, sensor_ids: NDArray[np.int64]) -> int:
        """Return 0 if a message with these sensors' readings is let in, else how long to wait.

        Args:
            sensor_ids: The sensor of each reading; int64, shape ``(n,)``.
        """
        if self._shared is None:
            return self._alone([sensor_ids])[0]
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((sensor_ids, answer))
        self._came.set()
        return await answer

    async def run(self) -> None:
        """Answer whoever asks, until cancelled."""
        while True:
            await self._came.wait()
            asked, self._queue = self._queue[:AT_ONCE_MAX], self._queue[AT_ONCE_MAX:]
            if not asked:
                self._came.clear()
                continue
            waits = await self._ask([sensor_ids for sensor_ids, _ in asked])
            for (_, answer), wait_ms in zip(asked, waits, strict=True):
                if not answer.done():
                    answer.set_result(wait_ms)

    async def _ask(self, messages: list[NDArray[np.int64]]) -> list[int]:
        now_ms = self._clock.steady_ms()
        if self._shared is not None and now_ms >= self._ask_again_ms:
            try:
                return await self._shared.take(messages)
            except InfrastructureError as exc:
                self._ask_again_ms = now_ms + ASK_AGAIN_AFTER_MS
                log.warning("shared buckets are away", why=str(exc))
        self._meter.alone(len(messages))
        return self._alone(messages)

    def _alone(self, messages: list[NDArray[np.int64]]) -> list[int]:
        return self._local.take(messages, self._clock.steady_ms())
