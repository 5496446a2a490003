"""cloud.ingest over the twin: workers interleaved and ended at any await, from a printed seed."""

import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloud.core.arrivals import Life, sort_out
from cloud.core.receipts import answers
from cloud.ingest.service import Ingest
from tests.support.builders import EPOCH, HUB, NOON, a_batch, a_seal, a_tombstone
from tests.support.cloud import STORE, Lent, MemoryStore, StoppedClock, a_delivery
from wire import ranges
from wire.batch import Flag
from wire.codec import encode
from wire.control import decode_receipt
from wire.errors import InfrastructureError

SEEDS = 150
LIFE = Life(HUB, EPOCH)
BATCHES = 12
SHED = (4, 8)


def world_of(dice: random.Random) -> list[Lent]:
    """Return twelve batches of three rows, some thinned too, and a tombstone over four of them."""
    found = []
    for number in range(BATCHES):
        times = [NOON + 10 * number + row for row in range(3)]
        found.append(a_delivery(a_batch(number, times=times)))
        if dice.random() < 0.3:
            seal = a_seal(number, flags=Flag.THINNED, rows_lost=2)
            found.append(a_delivery(a_batch(seal=seal, times=times[:1], samples=3)))
    tombstone = a_tombstone(BATCHES, low=SHED[0], high=SHED[1])
    found.append(Lent(found[0].topic, encode(tombstone)))
    return found


@dataclass
class Run:
    """Workers over one store, stepped by dice; every receipt is checked when it is owed."""

    dice: random.Random
    store: MemoryStore = field(default_factory=MemoryStore)
    told: ranges.Ranges = ()
    crashes: int = 0

    async def work(self, messages: Sequence[Lent]) -> None:
        arrivals = sort_out(messages)
        done = await Ingest(self.store, StoppedClock()).flush(arrivals)
        for _, body in answers(arrivals, done.entries, STORE, NOON):
            receipt = decode_receipt(body)
            committed = self.store.tables.ledger[LIFE].received
            assert not ranges.minus(receipt.received, committed), "promised what is not committed"
            self.told = ranges.union(self.told, receipt.received)

    def interleave(self, jobs: Sequence[Sequence[Lent]], *, crash: float) -> None:
        """Step all jobs to their ends in random order, killing some on the way."""
        running: list[Coroutine[Any, Any, None]] = [self.work(job) for job in jobs]
        while running:
            job = self.dice.choice(running)
            if self.dice.random() < crash:
                job.close()
                running.remove(job)
                self.crashes += 1
                continue
            try:
                job.send(None)
            except (StopIteration, InfrastructureError):
                running.remove(job)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_batch_has_one_fate_whatever_happens_in_between(seed: int) -> None:
    dice = random.Random(seed)
    messages = world_of(dice)
    run = Run(dice)
    for _ in range(3):
        jobs = [dice.choices(messages, k=dice.randint(1, 6)) for _ in range(3)]
        run.interleave(jobs, crash=0.01)
    run.interleave([messages], crash=0)
    check(run)


def check(run: Run) -> None:
    tables = run.store.tables
    entry = tables.ledger[LIFE]
    assert entry.received == run.told == ((0, BATCHES + 1),), "not every batch has a receipt"
    assert not run.store.owners, "a lock outlived its transaction"
    assert all(len(contents) == 1 for contents in tables.log.values()), "settled twice"
    for number in range(BATCHES):
        times = [NOON + 10 * number + row for row in range(3)]
        stored = [tables.readings.get((1000, at)) for at in times]
        samples = sum(row[3] for row in stored if row is not None)
        if ranges.contains(entry.shed, number):
            assert SHED[0] <= number < SHED[1]
            assert samples == 0, "shed and stored"
        else:
            assert samples == 3, "not every reading is stood for exactly once"
