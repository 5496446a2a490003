"""A virtual hub at work: readings in, answers out, batches over one link after another."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Final
from uuid import UUID

import structlog

from gateway.core.readings import Readings
from gateway.core.virtual_hub import Sending, VirtualHub
from gateway.ports import DoorMeter, Link, LinkLostError, Uplink
from wire.clock import Clock
from wire.control import Health, decode_receipt, encode_health
from wire.errors import MalformedMessageError
from wire.topics import Channel

SAFE_WITHIN_S: Final = 2.0
FIRST_HEALTH_AFTER_MS: Final = 5_000
HEALTH_EVERY_MS: Final = 60_000
LOOK_EVERY_MS: Final = 30_000
BACKOFF_MS: Final = 250
BACKOFF_MS_MAX: Final = 5_000
log = structlog.get_logger()


class Fate(Enum):
    """What became of a message's readings."""

    SAFE = auto()  # all of them are stored, or where no single failure loses them
    LATE = auto()  # not yet safe, and may still become so
    AWAY = auto()  # not taken: there is no way to the store
    FULL = auto()  # not taken: too much waits already


class Courier:
    """Carries what its virtual hub seals, and tells who waits when it is safe."""

    def __init__(
        self,
        hub: VirtualHub,
        uplink: Uplink,
        store_id: UUID,
        clock: Clock,
        chance: Callable[[], float],
        meter: DoorMeter,
    ) -> None:
        """Take the neighbours; receipts of stores other than ``store_id`` count for nothing."""
        self._hub, self._uplink, self._store_id = hub, uplink, store_id
        self._clock, self._chance, self._meter = clock, chance, meter
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._news = asyncio.Event()
        self.is_open = False

    async def deliver(self, readings: Readings, within_s: float = SAFE_WITHIN_S) -> Fate:
        """Take readings whole and return once they are safe, or so much later."""
        if not self.is_open:
            return Fate.AWAY
        ticket = self._hub.admit(readings, self._clock.steady_ms())
        if ticket is None:
            return Fate.FULL
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = waiting
        self._news.set()
        try:
            async with asyncio.timeout(within_s):
                await waiting
        except TimeoutError:
            return Fate.LATE
        finally:
            del self._waiting[ticket]
        return Fate.SAFE

    async def run(self) -> None:
        """Keep a link open and batches flowing, until cancelled."""
        failures = 0
        while True:
            try:
                await self._one_link()
            except* LinkLostError as lost:
                log.warning("uplink lost", why=str(lost.exceptions[0]), hub=repr(self._hub))
            failures = 0 if self.is_open else failures + 1
            self.is_open = False
            self._hub.disconnected()
            longest_ms = min(BACKOFF_MS << min(failures, 10), BACKOFF_MS_MAX)
            await self._clock.sleep_ms(round(self._chance() * longest_ms))

    async def _one_link(self) -> None:
        will = self._health(online=False)
        async with self._uplink.open(will) as link, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(link), name="receipts")
            await link.say(Channel.STATUS, self._health(online=True), retain=True)
            self.is_open = True
            log.info("uplink open", hub=repr(self._hub))
            tasks.create_task(self._send(link, tasks), name="send")
            # Not a task: before Python 3.13 a group that fails while its parent merely waits for
            # it leaves the parent looking cancelled, for good.
            await self._beat(link)

    async def _send(self, link: Link, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._news.clear()
            now_ms = self._clock.steady_ms()
            self._hub.timeout(now_ms)
            self._hub.seal(now_ms)
            for sending in self._hub.offer(now_ms):
                self._hub.sent(sending.sequence, now_ms, self._chance())
                tasks.create_task(self._carry(link, sending), name=f"batch {sending.sequence}")
            self._meter.held(self._hub.held, self._hub.held_bytes)
            await self._until_news()

    async def _carry(self, link: Link, sending: Sending) -> None:
        if await link.send(sending.body):
            self._call(self._hub.confirmed(sending.sequence))

    async def _until_news(self) -> None:
        now_ms = self._clock.steady_ms()
        wake_ms = self._hub.wake_ms(now_ms)
        wait_ms = LOOK_EVERY_MS if wake_ms is None else min(wake_ms - now_ms, LOOK_EVERY_MS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(wait_ms, 1) / 1_000):
                await self._news.wait()

    async def _listen(self, link: Link) -> None:
        async for body in link.receipts():
            try:
                receipt = decode_receipt(body)
            except MalformedMessageError as exc:
                log.warning("malformed receipt", why=str(exc))
                continue
            if receipt.store_id != self._store_id:
                log.warning("receipt of another store", store_id=str(receipt.store_id))
            elif receipt.epoch == self._hub.epoch:
                self._call(self._hub.receipt(receipt.received, receipt.refused))
                self._news.set()

    async def _beat(self, link: Link) -> None:
        await self._clock.sleep_ms(FIRST_HEALTH_AFTER_MS)
        while True:
            await link.say(Channel.HEALTH, self._health(online=True))
            await self._clock.sleep_ms(HEALTH_EVERY_MS)

    def _call(self, tickets: tuple[int, ...]) -> None:
        for ticket in tickets:
            waiting = self._waiting.get(ticket)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _health(self, *, online: bool) -> bytes:
        hub = self._hub
        return encode_health(
            Health(
                online,
                "http",
                ((hub.epoch, hub.next_sequence),),
                True,
                self._clock.now_ms(),
                {"held_batches": hub.held, "held_bytes": hub.held_bytes},
            )
        )
