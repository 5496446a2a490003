"""Alert as a process runs it: the lane wakes it, a poll makes sure."""

import asyncio

from cloud.alert.service import POLL_MS, Alerts
from cloud.ports import Inbox
from cloud.steps import Steps
from wire.clock import Clock


class Stage:
    """Drives the settling. The broker may be away: then only the poll is left."""

    def __init__(self, alerts: Alerts, clock: Clock) -> None:
        """Take the step and the clock."""
        self._alerts = alerts
        self._woken = asyncio.Event()
        self.steps = Steps(clock)

    async def listen(self, inbox: Inbox) -> None:
        """Wake the settling with each word on the lane, until the broker is gone.

        Raises:
            InfrastructureError: The broker is gone.
        """
        async for deliveries in inbox.deliveries():
            self._woken.set()
            for delivery in deliveries:
                await delivery.ack()

    async def settle(self) -> None:
        """Settle findings until cancelled."""
        while True:
            self._woken.clear()
            await self.steps.done("settle", self._alerts.settle_all)
            try:
                async with asyncio.timeout(POLL_MS / 1_000):
                    await self._woken.wait()
            except TimeoutError:
                pass
