"""Dead letters over the twin: decided by many, resent by hubs, killed at any await, by dice."""

import random
from collections.abc import Coroutine
from typing import Any

import pytest

from cloud.core.arrivals import Life, sort_out
from cloud.ingest.replay import Letters
from cloud.ingest.service import Ingest
from tests.support.builders import EPOCH, HUB, NOON, a_batch, a_seal
from tests.support.cloud import Lent, StoppedClock, a_delivery
from tests.support.letters import MemoryLetters, misread
from wire import ranges
from wire.batch import Batch, Flag
from wire.errors import InfrastructureError

SEEDS = 150
BATCHES = 8
ROWS = 3
LIFE = Life(HUB, EPOCH)


def batch(number: int) -> Batch:
    return a_batch(number, times=[NOON + 10 * number + row for row in range(ROWS)])


def thinned(number: int) -> Batch:
    seal = a_seal(number, flags=Flag.THINNED, rows_lost=ROWS - 1)
    return a_batch(seal=seal, times=[NOON + 10 * number], samples=ROWS)


def step(job: Coroutine[Any, Any, Any]) -> bool:
    """Take a job one await further; return whether it goes on."""
    try:
        job.send(None)
    except (StopIteration, InfrastructureError):
        return False
    return True


def finish(job: Coroutine[Any, Any, Any]) -> None:
    while step(job):
        pass


class Run:
    """One store, and everybody who is at it."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store = MemoryLetters()
        self.forms = [self.dice.choice((batch, thinned))(n) for n in range(BATCHES)]
        self.refused = sorted(self.dice.sample(range(BATCHES), 4))
        finish(self.flush(*(a_delivery(each) for each in self.forms if not self.is_refused(each))))
        bad = misread(*(each for each in self.forms if self.is_refused(each)))
        finish(Ingest(self.store, StoppedClock()).flush(bad))

    def is_refused(self, each: Batch) -> bool:
        return each.key.sequence in self.refused

    async def flush(self, *messages: Lent) -> None:
        await Ingest(self.store, StoppedClock()).flush(sort_out(messages))

    def job(self) -> Coroutine[Any, Any, Any]:
        """Return somebody's next deed."""
        letters = Letters(self.store, StoppedClock())
        letter_id = self.dice.randint(1, len(self.refused))
        match self.dice.randrange(8):
            case 0:
                return letters.drop(letter_id, "bob")
            case 1 | 2 | 3 | 4:
                return letters.replay(letter_id, "ann")
            case _:
                numbers = self.dice.choices(range(BATCHES), k=3)
                form = self.dice.choice((batch, thinned))
                return self.flush(*(a_delivery(form(number)) for number in numbers))

    def interleave(self, jobs: int) -> None:
        running = [self.job() for _ in range(jobs)]
        while running:
            job = self.dice.choice(running)
            if self.dice.random() < 0.02:
                job.close()
                running.remove(job)
            elif not step(job):
                running.remove(job)
            self.check()

    def check(self) -> None:
        """What holds whenever anybody looks."""
        tables = self.store.tables
        entry = tables.ledger[LIFE]
        replayed = {
            key.sequence for (key, _), (what, _) in tables.decided.items() if what[0] == "r"
        }
        assert entry.received == ((0, BATCHES),), "a settled sequence came loose"
        assert entry.refused == ranges.from_numbers(set(self.refused) - replayed)
        assert all(len(contents) == 1 for contents in tables.log.values()), "settled twice"
        for form in self.forms:
            number = form.key.sequence
            rows = [tables.readings.get((1000, NOON + 10 * number + row)) for row in range(ROWS)]
            samples = sum(row[3] for row in rows if row is not None)
            stored = number not in self.refused or number in replayed
            assert samples == (ROWS if stored else 0), "not exactly once"


@pytest.mark.spec("Q3", "S1")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_letter_has_one_fate_whatever_happens_in_between(seed: int) -> None:
    run = Run(seed)
    run.check()
    for _ in range(3):
        run.interleave(4)
    for letter_id in range(1, len(run.refused) + 1):
        finish(Letters(run.store, StoppedClock()).replay(letter_id, "ann"))
        run.check()
    tables = run.store.tables
    assert set(tables.decided) == set(tables.dead), "a letter was left undecided"
    assert not run.store.owners, "a lock outlived its transaction"
