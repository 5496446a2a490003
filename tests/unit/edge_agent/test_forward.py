"""Laws of the way up, in virtual time, over a link that misbehaves."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from edge_agent.core.outbox import Outbox
from edge_agent.core.spooled import Urgency
from edge_agent.forward import BACKOFF_MS_MAX, HEALTH_EVERY_MS, Forward
from tests.support import virtual_time
from tests.support.builders import NOON
from tests.support.uplink import Faults, MemoryStore, MemoryUplink, at_once
from wire import ranges
from wire.control import Health, Receipt, decode_health, decode_hello, encode_receipt
from wire.ids import BatchKey, Epoch, HubId, Sequence, UnixMs
from wire.ranges import Ranges
from wire.topics import Channel

pytestmark = pytest.mark.spec("I6")

OURS = UUID(int=1)
THEIRS = UUID(int=2)
NOW, OLD = Epoch(2), Epoch(1)
BATCHES = (Channel.BATCH, Channel.URGENT)


@dataclass
class Cloud:
    """Stores what it hears and promises exactly that."""

    uplink: MemoryUplink
    store_id: UUID = OURS
    answers: bool = True
    refused: Ranges = ()
    committed: dict[Epoch, set[int]] = field(default_factory=dict)
    hellos: int = 0

    async def run(self) -> None:
        while True:
            channel, body = await self.uplink.heard.get()
            if channel in BATCHES:
                epoch, number = map(int, body.split(b"/"))
                self.committed.setdefault(Epoch(epoch), set()).add(number)
                self.promise(Epoch(epoch))
            elif channel is Channel.HELLO:
                self.hellos += 1
                for held in decode_hello(body).epochs:
                    self.promise(held.epoch)

    def promise(self, epoch: Epoch) -> None:
        if self.answers:
            received = ranges.from_numbers(self.committed.get(epoch, ()))
            refused = ranges.intersect(received, self.refused)
            receipt = Receipt(self.store_id, epoch, received, refused, NOON)
            self.uplink.say(Channel.RECEIPT, encode_receipt(receipt))


@dataclass
class River:
    """A hub's forward, its store and its cloud."""

    store: MemoryStore
    uplink: MemoryUplink
    cloud: Cloud
    forward: Forward
    times: list[UnixMs]

    def batches_sent(self) -> list[bytes]:
        return [body for channel, body, _ in self.uplink.sent if channel in BATCHES]


def a_river(faults: Faults | None = None, seed: int = 0) -> River:
    store, uplink = MemoryStore(NOW), MemoryUplink(seed, faults)
    clock, times = virtual_time.VirtualClock(NOON), list[UnixMs]()

    async def report() -> Health:
        return Health(True, "1", ((NOW, store.next_sequence.get(NOW, 0)),), True, clock.now_ms())

    forward = Forward(
        store=store,
        in_turn=at_once,
        uplink=uplink,
        outbox=Outbox(NOW),
        store_id=OURS,
        report=report,
        heard_time=times.append,
        clock=clock,
        chance=random.Random(seed).random,
    )
    return River(store, uplink, Cloud(uplink), forward, times)


async def flowing(river: River, story: Awaitable[None]) -> None:
    """Run the river while ``story`` is told."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(river.forward.run()), tasks.create_task(river.cloud.run())]
        await story
        for task in running:
            task.cancel()


def told(tell: Callable[[River], Coroutine[Any, Any, None]], river: River) -> None:
    async def main() -> None:
        await flowing(river, tell(river))

    virtual_time.run(main())


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (virtual time)
            await asyncio.sleep(0.05)


def test_everything_held_is_sent_and_forgotten_on_its_receipt() -> None:
    river = a_river()
    keys = {river.store.seal(urgency) for urgency in Urgency for _ in range(50)}

    async def story(river: River) -> None:
        await until(lambda: not river.store.bodies)

    told(story, river)
    assert set(river.store.settled) == keys
    assert len(river.batches_sent()) == len(keys)
    assert river.times[0] == NOON


@pytest.mark.parametrize("steps", range(12))
def test_a_hub_told_to_end_as_its_link_breaks_ends(steps: int) -> None:
    river = a_river()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            forwarding = tasks.create_task(river.forward.run())
            await until(lambda: river.uplink.up)
            river.uplink.cut()
            for _ in range(steps):
                await asyncio.sleep(0)
            forwarding.cancel()
            await asyncio.wait({forwarding}, timeout=5)
            assert forwarding.cancelled()

    virtual_time.run(main())


def test_a_puback_forgets_nothing() -> None:
    river = a_river()
    river.cloud.answers = False
    key = river.store.seal()

    async def story(river: River) -> None:
        await until(lambda: len(river.batches_sent()) >= 3)

    told(story, river)
    assert river.store.bodies.keys() == {key}
    assert not river.store.settled


def test_receipts_of_a_second_store_are_ignored() -> None:
    river = a_river()
    river.cloud.store_id = THEIRS
    key = river.store.seal()

    async def story(river: River) -> None:
        await until(lambda: river.forward.counts["receipts_foreign"] >= 2)

    told(story, river)
    assert river.store.bodies.keys() == {key}
    assert not river.times, "nor is its clock believed"


def test_refused_batches_go_to_quarantine() -> None:
    river = a_river()
    good, bad = river.store.seal(), river.store.seal()
    river.cloud.refused = ((bad.sequence, bad.sequence + 1),)

    async def story(river: River) -> None:
        await until(lambda: not river.store.bodies)

    told(story, river)
    assert set(river.store.settled) == {good, bad}
    assert river.store.quarantine == [bad]


def test_nonsense_on_the_receipt_channel_is_counted_and_the_link_stays() -> None:
    river = a_river()

    async def story(river: River) -> None:
        await until(lambda: river.uplink.up)
        river.uplink.say(Channel.RECEIPT, b"\xc1")
        river.store.seal()
        river.forward.wake()
        await until(lambda: not river.store.bodies)

    told(story, river)
    assert river.forward.counts["receipts_malformed"] == 1
    assert river.forward.counts["links_lost"] == 0


def test_what_the_store_already_has_is_asked_for_and_not_sent_again() -> None:
    river = a_river()
    for _ in range(5):
        river.store.seal(epoch=OLD)
    river.cloud.committed[OLD] = {0, 1, 2, 3}

    async def story(river: River) -> None:
        await until(lambda: not river.store.bodies)

    told(story, river)
    assert river.batches_sent() == [b"1/4"]
    channels = [channel for channel, _, _ in river.uplink.sent]
    assert channels.index(Channel.HELLO) < channels.index(Channel.BATCH)


def test_urgent_batches_travel_on_the_urgent_channel() -> None:
    river = a_river()
    key = river.store.seal(Urgency.URGENT)

    async def story(river: River) -> None:
        await until(lambda: key in river.store.settled)

    told(story, river)
    assert Channel.URGENT in [channel for channel, _, _ in river.uplink.sent]


def test_new_evidence_does_not_wait_for_a_hello_that_stays_unanswered() -> None:
    river = a_river()
    river.store.seal(epoch=OLD)
    river.store.seal(Urgency.URGENT)
    river.cloud.answers = False

    async def story(river: River) -> None:
        await until(lambda: bool(river.batches_sent()), within_s=0.2)

    told(story, river)
    assert river.batches_sent() == [b"2/0"]


def test_birth_is_retained_and_the_will_says_the_hub_is_gone() -> None:
    river = a_river()

    async def story(river: River) -> None:
        await until(lambda: river.cloud.hellos == 1)

    told(story, river)
    channel, birth, retained = river.uplink.sent[0]
    assert (channel, retained) == (Channel.STATUS, True)
    assert decode_health(birth).online
    assert not decode_health(river.uplink.wills[0]).online


def test_health_is_told_soon_and_then_every_minute() -> None:
    river = a_river()

    async def story(river: River) -> None:
        await asyncio.sleep(10 + 2 * HEALTH_EVERY_MS / 1_000)

    told(story, river)
    assert [channel for channel, _, _ in river.uplink.sent].count(Channel.HEALTH) == 3


def test_a_link_that_swallows_everything_is_given_up_and_what_it_swallowed_is_sent_again() -> None:
    river = a_river()
    river.store.seal()

    async def story(river: River) -> None:
        await until(lambda: river.cloud.hellos == 1)
        river.uplink.faults = Faults(silence=1.0)
        river.store.seal()
        river.forward.wake()
        await until(lambda: river.forward.counts["links_lost"] == 1, within_s=10)
        river.uplink.faults = Faults()
        await until(lambda: not river.store.bodies, within_s=10)

    told(story, river)


def test_the_way_back_is_tried_for_ever_and_never_more_rarely_than_its_limit() -> None:
    river = a_river(Faults(refuse=1.0))
    river.store.seal()

    async def story(river: River) -> None:
        await asyncio.sleep(3_600)
        assert river.forward.counts["links_lost"] >= 3_600_000 / BACKOFF_MS_MAX
        river.uplink.faults = Faults()
        await until(lambda: not river.store.bodies, within_s=BACKOFF_MS_MAX / 1_000 + 1)

    told(story, river)


@pytest.mark.parametrize("seed", range(10))
def test_through_loss_doubling_silence_and_cuts_nothing_is_forgotten_before_its_promise(
    seed: int,
) -> None:
    river = a_river(Faults(refuse=0.3, lose=0.2, double=0.2, silence=0.002, delay_s=0.05), seed)
    chance = random.Random(seed)
    sealed: set[BatchKey] = set()

    async def story(river: River) -> None:
        for _ in range(200):
            epoch = chance.choice([NOW, NOW, OLD]) if not sealed else NOW
            sealed.add(river.store.seal(chance.choice(list(Urgency)), epoch))
            river.forward.wake()
            if chance.random() < 0.03:
                river.uplink.cut()
            await asyncio.sleep(chance.random() / 5)
            assert all(k.sequence in river.cloud.committed[k.epoch] for k in river.store.settled)
        river.uplink.faults = Faults()
        await until(lambda: not river.store.bodies, within_s=120)

    told(story, river)
    assert set(river.store.settled) == sealed
    committed = {
        BatchKey(HubId("hub-1"), epoch, Sequence(number))
        for epoch, numbers in river.cloud.committed.items()
        for number in numbers
    }
    assert committed == sealed
