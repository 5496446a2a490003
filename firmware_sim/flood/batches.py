"""Publish sealed batches, many in flight, and count what the store says it has."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from firmware_sim.ports import Broker, Session
from wire.clock import Clock
from wire.control import decode_receipt
from wire.ids import Epoch, HubId, Region
from wire.ranges import Ranges, count, union
from wire.topics import Channel, topic

IN_FLIGHT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class VirtualHub:
    """A hub that has sealed everything it will ever say.

    Attributes:
        hub_id: Its name, also at the broker.
        region: Where it says it stands.
        epoch: Of its batches.
        broker: Its own way in.
        bodies: Encoded batches, sequences 0, 1, 2...
    """

    hub_id: HubId
    region: Region
    epoch: Epoch
    broker: Broker
    bodies: list[bytes]


@dataclass(slots=True)
class Progress:
    """What one flood has come to.

    Attributes:
        published: Batches the broker took.
        receipted: Batches the store committed, as far as receipts say.
        published_ms: Steady time from the first publish to the last the broker took.
        receipted_ms: Steady time from the first publish to the last receipt; 0 = not awaited.
    """

    published: int = 0
    receipted: int = 0
    published_ms: int = 0
    receipted_ms: int = 0


async def publish_all(
    hubs: list[VirtualHub], clock: Clock, batches_per_s: float | None, receipts_within_s: float
) -> Progress:
    """Publish every batch once; nothing is sent again.

    Args:
        hubs: Who speaks; all connect before the first batch leaves.
        clock: To keep the intended times and to measure.
        batches_per_s: Of all hubs together, open loop; None = as fast as the broker takes them.
        receipts_within_s: How long to wait for receipts after the last publish; 0 = not at all.

    Raises:
        InfrastructureError: A connection broke: a measurement cannot go on.
    """
    progress = Progress()
    start = asyncio.Barrier(len(hubs))
    began: list[int] = []
    async with asyncio.TaskGroup() as group:
        for number, hub in enumerate(hubs):
            pace_ms = None if batches_per_s is None else len(hubs) * 1_000 / batches_per_s
            flood = _Flood(hub, clock, progress, pace_ms, began, max(1, IN_FLIGHT_MAX // len(hubs)))
            group.create_task(flood.run(start, receipts_within_s), name=f"flood-{number}")
    return progress


class _Flood:
    """One hub's share."""

    def __init__(
        self,
        hub: VirtualHub,
        clock: Clock,
        progress: Progress,
        pace_ms: float | None,
        began: list[int],
        lanes: int,
    ) -> None:
        self._hub, self._clock, self._progress = hub, clock, progress
        self._pace_ms, self._began, self._lanes = pace_ms, began, lanes
        self._received: Ranges = ()
        self._all_received = asyncio.Event()

    async def run(self, start: asyncio.Barrier, receipts_within_s: float) -> None:
        filters = (self._topic(Channel.RECEIPT),) if receipts_within_s > 0 else ()
        async with self._hub.broker.session(filters) as session, asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen(session), name="receipts")
            await start.wait()
            self._began.append(self._clock.steady_ms())
            bodies = iter(enumerate(self._hub.bodies))
            async with asyncio.TaskGroup() as lanes:
                for lane in range(self._lanes):
                    lanes.create_task(self._publish(session, bodies), name=f"lane-{lane}")
            if receipts_within_s > 0:
                await self._wait_for_receipts(receipts_within_s)
            listening.cancel()

    async def _publish(self, session: Session, bodies: Iterator[tuple[int, bytes]]) -> None:
        target = self._topic(Channel.BATCH)
        for number, body in bodies:
            if self._pace_ms is not None:
                due = self._began[0] + number * self._pace_ms - self._clock.steady_ms()
                await self._clock.sleep_ms(max(0, round(due)))
            await session.publish(target, body)
            self._progress.published += 1
            self._progress.published_ms = self._clock.steady_ms() - self._began[0]

    async def _listen(self, session: Session) -> None:
        async for _, body in session.replies():
            receipt = decode_receipt(body)
            if receipt.epoch == self._hub.epoch:
                before = count(self._received)
                self._received = union(self._received, receipt.received)
                self._progress.receipted += count(self._received) - before
                self._progress.receipted_ms = self._clock.steady_ms() - self._began[0]
                if count(self._received) >= len(self._hub.bodies):
                    self._all_received.set()

    async def _wait_for_receipts(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._all_received.wait()
        except TimeoutError:
            return

    def _topic(self, channel: Channel) -> str:
        return topic(self._hub.region, self._hub.hub_id, channel)
