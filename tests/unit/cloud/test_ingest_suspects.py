"""cloud.ingest.suspects: who was near a death is judged alone, and every case ends."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cloud.core.arrivals import Life
from cloud.core.outcome import Outcome
from cloud.ingest.meters import Meters
from cloud.ingest.service import Ingest
from cloud.ingest.sift import TRIES, Credit, Sieve
from cloud.ingest.suspects import WHY, Docket, Suspects
from tests.support.builders import EPOCH, HUB, NOON, a_batch
from tests.support.cloud import STORE, Lent, MemoryStore, a_delivery
from tests.support.trials import MemoryTrials
from tests.support.wait import until
from tests.unit.cloud.test_ingest_worker import Broker, NoonClock
from wire.control import decode_receipt
from wire.errors import InfrastructureError

LIFE = Life(HUB, EPOCH)
LETHAL = 666


class KilledError(BaseException):
    """The process is no more: nothing of ours catches this."""


class Lethal(Ingest):
    """Ends who prepares a row of sensor 666."""

    async def prepare(self, arrivals: Any) -> Any:
        for parcel in arrivals.parcels.values():
            if LETHAL in getattr(parcel.content, "sensor_ids", ()):
                raise KilledError
        return await super().prepare(arrivals)


@dataclass
class World:
    """What outlives processes: a store, its record of trials, and a broker's queue."""

    store: MemoryStore = field(default_factory=MemoryStore)
    trials: MemoryTrials = field(default_factory=MemoryTrials)
    credit: int = 0
    deaths: int = 0
    told: list[bytes] = field(default_factory=list)

    async def live(self, *suspects: Lent, docket: Docket | None = None) -> None:
        """Be one process until nothing is left to judge, or it dies."""
        broker = Broker(self.store)
        broker.bursts.put_nowait(suspects)
        credit = Credit()
        credit.earn(Outcome(batches=Counter(stored=self.credit)))

        async def once(_: str, step: Callable[[], Awaitable[Outcome]]) -> Outcome:
            return await step()

        inbox: Any = broker
        meters = Meters(CollectorRegistry())
        judge = Suspects(
            Sieve(Lethal(self.store, NoonClock()), once, credit),
            inbox,
            broker,
            docket or Docket(self.trials),
            STORE,
            NoonClock(),
            meters,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(judge.run())
                await until(lambda: running.done() or all(each.acknowledged for each in suspects))
                running.cancel()
        except* KilledError:
            self.deaths += 1
        self.told += [body for _, _, body in broker.told]

    async def end(self, *suspects: Lent) -> None:
        """Be as many processes as it takes; what is acknowledged does not come again."""
        for _ in range(20):
            if left := [each for each in suspects if not each.acknowledged]:
                await self.live(*left)
        assert all(each.acknowledged for each in suspects)


def guilty(sequence: int) -> Lent:
    return a_delivery(a_batch(sequence, sensors=[LETHAL], times=[NOON + sequence]))


def innocent(sequence: int) -> Lent:
    return a_delivery(a_batch(sequence, times=[NOON + sequence]))


@pytest.mark.spec("Q3")
async def test_a_lethal_batch_is_refused_unread_and_the_innocent_beside_it_are_stored() -> None:
    world = World()
    await world.end(*(guilty(n) if n == 3 else innocent(n) for n in range(8)))
    entry = world.store.tables.ledger[LIFE]
    assert (entry.received, entry.refused) == (((0, 8),), ((3, 4),))
    assert (len(world.store.tables.readings), world.deaths) == (7, TRIES)
    ((name, letter),) = world.store.tables.dead.items()
    assert letter.reason == WHY
    assert world.store.tables.attempts[name] == TRIES
    assert any(decode_receipt(body).refused == ((3, 4),) for body in world.told)


async def test_without_a_good_batch_stored_nothing_is_refused_and_nothing_dies_any_more() -> None:
    world, lone = World(), guilty(0)
    for _ in range(TRIES):
        await world.live(lone)
    for _ in range(3 * TRIES):  # as often as it is restarted
        with suppress(TimeoutError, AssertionError):
            async with asyncio.timeout(0.05):
                await world.live(lone)
    assert (world.deaths, lone.acknowledged, world.store.tables.dead) == (TRIES, False, {})
    world.credit = 1
    await world.live(lone)
    assert lone.acknowledged
    assert world.store.tables.ledger[LIFE].refused == ((0, 1),)


async def test_a_copy_that_comes_after_the_refusal_kills_nobody() -> None:
    world = World(credit=1)
    await world.end(guilty(0))
    await world.end(guilty(0))
    assert world.deaths == TRIES
    assert len(world.store.tables.dead) == 1


async def test_a_trial_that_the_process_outlived_does_not_count() -> None:
    world = World()
    world.store.failing = 100
    suspect, docket = innocent(0), Docket(world.trials)
    for _ in range(3 * TRIES):  # links break, the process lives
        with pytest.raises(ExceptionGroup) as failed:
            await world.live(suspect, docket=docket)
        assert failed.group_contains(InfrastructureError)
    world.store.failing = 0
    await world.live(suspect, docket=docket)
    assert world.store.tables.ledger[LIFE].refused == ()
    assert len(world.store.tables.readings) == 1


async def test_what_cannot_be_noted_is_not_tried() -> None:
    world, suspect = World(), guilty(0)
    world.trials.away = True
    with pytest.raises(ExceptionGroup) as failed:
        await world.live(suspect)
    assert failed.group_contains(InfrastructureError)
    assert (world.deaths, suspect.acknowledged) == (0, False)


async def test_bytes_without_a_header_are_counted_and_let_go() -> None:
    world, noise = World(), Lent("headgate/1/north/hub-1/batch", b"\xff" * 40, NOON)
    await world.end(noise)
    assert (world.deaths, world.store.tables.ledger) == (0, {})


async def test_bytes_whose_very_header_kills_are_given_up_in_the_end() -> None:
    world, noise = World(), Lent("headgate/1/north/hub-1/batch", b"\xff" * 40, NOON)
    for _ in range(TRIES):
        digest = hashlib.sha256(f"{noise.topic}\0".encode() + noise.body).digest()
        await Docket(world.trials).begin(digest)
    await world.live(noise)
    assert noise.acknowledged
