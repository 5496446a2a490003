"""The way up: spool > outbox > uplink, and receipts back into the spool.

A batch leaves the spool when a receipt of the pinned store covers it and not before. What the link
or the broker says of it counts for nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import structlog

from edge_agent.core.outbox import WINDOW_MAX, Outbox
from edge_agent.core.spooled import Spooled, Urgency
from edge_agent.ports import (
    BatchStore,
    InTurn,
    Link,
    LinkLostError,
    NobodyThereError,
    SpoolFaultError,
    Uplink,
)
from edge_agent.tasks import heed_cancellation
from wire.clock import Clock
from wire.control import Health, Hello, decode_receipt, encode_health, encode_hello
from wire.errors import MalformedMessageError
from wire.ids import UnixMs
from wire.topics import Channel

WAITING_MAX: Final = 4 * WINDOW_MAX
HEALTH_EVERY_MS: Final = 60_000
FIRST_HEALTH_AFTER_MS: Final = 5_000
LOOK_EVERY_MS: Final = 30_000
BACKOFF_MS: Final = 1_000
BACKOFF_MS_MAX: Final = 30_000
NOBODY_TIMES: Final = 4  # until then it may be one node of several, or a broker back in a moment
CROWD_MS: Final = 15_000, 45_000
STEADY_AFTER_MS: Final = 10_000

log = structlog.get_logger()


@dataclass(slots=True)
class Forward:
    """Sends what the spool holds, over one link after another, for ever.

    Attributes:
        store: The sealed batches; called through ``in_turn`` only.
        in_turn: The spool's thread.
        uplink: The way to the cloud.
        outbox: What is in flight.
        store_id: Whose receipts count.
        report: Makes the hub's present health.
        heard_time: Told the cloud's clock with every receipt; called through ``in_turn``.
        clock: Time.
        chance: Numbers in 0..1, to spread resends and reconnects.
        counts: What happened since start, by name.
    """

    store: BatchStore
    in_turn: InTurn
    uplink: Uplink
    outbox: Outbox
    store_id: UUID
    report: Callable[[], Awaitable[Health]]
    heard_time: Callable[[UnixMs], None]
    clock: Clock
    chance: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Look again: there may be something new to send."""
        self._news.set()

    async def run(self) -> None:
        """Keep a link open and batches flowing, until cancelled."""
        failures = nobody = 0
        while True:
            since_ms = self.clock.steady_ms()
            try:
                await self._one_link()
            except* (LinkLostError, SpoolFaultError) as lost:
                log.warning("uplink lost", why=str(lost.exceptions[0]), outbox=repr(self.outbox))
                nobody = nobody + 1 if lost.subgroup(NobodyThereError) else 0
            heed_cancellation()
            self.counts["links_lost"] += 1
            steady = self.clock.steady_ms() - since_ms >= STEADY_AFTER_MS
            failures = 0 if steady else failures + 1
            await self.clock.sleep_ms(pause_ms(failures, nobody, self.chance()))

    async def _one_link(self) -> None:
        birth = await self.report()
        will = encode_health(replace(birth, online=False))
        async with self.uplink.open(will) as link:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._listen(link), name="receipts")
                    await link.publish(Channel.STATUS, encode_health(birth), retain=True)
                    await self._ask(link)
                    log.info("uplink open", outbox=repr(self.outbox))
                    tasks.create_task(self._send(link, tasks), name="send")
                    # Not a task: before Python 3.13 a group that fails while its parent merely
                    # waits for it leaves the parent looking cancelled, for good.
                    await self._beat(link)
            finally:
                self.outbox.disconnected()

    async def _ask(self, link: Link) -> None:
        """Say hello: what of this do you have? Resends wait for the answer, or its deadline."""
        held = await self.in_turn(self.store.held)
        self.outbox.epoch = self.store.epoch  # another one, after the spool was opened again
        asked = [one.epoch for one in held if one.held]
        self.outbox.connected(asked, self.clock.steady_ms())
        await link.publish(Channel.HELLO, encode_hello(Hello(held)))

    async def _send(self, link: Link, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._news.clear()
            self.counts["timeouts"] += self.outbox.timeout(self.clock.steady_ms())
            for spooled, body in await self._chosen():
                now_ms = self.clock.steady_ms()
                self.outbox.sent(spooled, now_ms, self.chance())
                self.counts["batches_sent"] += 1
                urgent = spooled.urgency is Urgency.URGENT
                channel = Channel.URGENT if urgent else Channel.BATCH
                tasks.create_task(link.publish(channel, body), name=f"publish {spooled.key}")
            await self._until_news()

    async def _chosen(self) -> Sequence[tuple[Spooled, bytes]]:
        """Return what to send now, with its bytes."""
        now_ms = self.clock.steady_ms()
        waiting = await self.in_turn(self.store.waiting, WAITING_MAX, self.outbox.not_now(now_ms))
        chosen = self.outbox.offer(waiting, now_ms, whole=len(waiting) < WAITING_MAX)
        if not chosen:
            return ()
        bodies = await self.in_turn(_bodies, self.store, chosen)
        if len(bodies) < len(chosen):
            self._news.set()  # something was settled or turned to a tombstone meanwhile
        return bodies

    async def _until_news(self) -> None:
        now_ms = self.clock.steady_ms()
        wake_ms = self.outbox.wake_ms(now_ms)
        wait_ms = LOOK_EVERY_MS if wake_ms is None else min(wake_ms - now_ms, LOOK_EVERY_MS)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1_000):
                await self._news.wait()

    async def _listen(self, link: Link) -> None:
        async for channel, body in link.incoming():
            if channel is Channel.RECEIPT:
                await self._receive(body)

    async def _receive(self, body: bytes) -> None:
        try:
            receipt = decode_receipt(body)
        except MalformedMessageError as exc:
            self.counts["receipts_malformed"] += 1
            log.warning("malformed receipt", why=str(exc))
            return
        if receipt.store_id != self.store_id:
            self.counts["receipts_foreign"] += 1
            log.warning("receipt of another store", store_id=str(receipt.store_id))
            return
        epoch, received = receipt.epoch, receipt.received
        settled = await self.in_turn(self.store.settle, epoch, received, receipt.refused)
        await self.in_turn(self.heard_time, receipt.now_ms)
        self.outbox.receipt(epoch, received, self.clock.steady_ms())
        self.counts["receipts"] += 1
        self.counts["batches_settled"] += settled
        self._news.set()

    async def _beat(self, link: Link) -> None:
        await self.clock.sleep_ms(FIRST_HEALTH_AFTER_MS)
        while True:
            await link.publish(Channel.HEALTH, encode_health(await self.report()))
            await self.clock.sleep_ms(HEALTH_EVERY_MS)


def pause_ms(failures: int, nobody: int, chance: float) -> int:
    """Return how long to wait before the next attempt: never all hubs together.

    Full jitter; but once a broker is known to be down, its whole fleet waits for the moment it
    serves again. Most of a jitter's hubs come early, so those are spread evenly: a thousand at 33 a
    second, which leaves the broker half its time for alerts.

    Args:
        failures: Attempts in a row that brought no steady link.
        nobody: Attempts in a row that found no broker running.
        chance: In 0..1.
    """
    if nobody >= NOBODY_TIMES:
        shortest_ms, longest_ms = CROWD_MS
        return round(shortest_ms + chance * (longest_ms - shortest_ms))
    return round(chance * min(BACKOFF_MS << min(failures, 10), BACKOFF_MS_MAX))


def _bodies(store: BatchStore, chosen: Sequence[Spooled]) -> list[tuple[Spooled, bytes]]:
    """Return the chosen with their bytes, those without left out. Runs in the spool's thread."""
    bodies = ((spooled, store.body(spooled.key)) for spooled in chosen)
    return [(spooled, body) for spooled, body in bodies if body is not None]
