"""Poison, twin and PostgreSQL alike: a batch over which ingest fails, though it is legible."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from cloud.adapters.postgres.dead_letters import PostgresLetters
from cloud.adapters.postgres.pool import connect, pool
from cloud.core.arrivals import Life, sort_out
from cloud.core.dead_letters import Fate
from cloud.core.outcome import Outcome
from cloud.core.receipts import answers
from cloud.core.rows import Rows
from cloud.ingest.replay import Letters
from cloud.ingest.service import Ingest
from cloud.ingest.sift import FAULTS, TRIES, Settled, Sieve
from tests.support.builders import EPOCH, HUB, NOON, a_batch
from tests.support.cloud import STORE, StoppedClock, Tables, a_delivery
from tests.support.cloud_tables import read_tables
from tests.support.letters import MemoryLetters, MemoryLetterTransaction
from tests.support.postgres import Servers, flavours
from wire import ranges
from wire.batch import Batch
from wire.control import decode_receipt
from wire.ids import SensorId

LIFE = Life(HUB, EPOCH)
POISON = 666
RULE = f"alter table sensor_readings add constraint poison check (sensor_id <> {POISON})"


class Allergic(MemoryLetters):
    """A store that fails over one sensor, and says of what it was asked."""

    allergic = True

    def transaction(self) -> MemoryLetterTransaction:
        return _AllergicTransaction(self)


class _AllergicTransaction(MemoryLetterTransaction):
    async def add_readings(self, rows: Rows) -> SensorId | None:
        if getattr(self._store, "allergic", False) and POISON in rows.sensor_ids:
            raise ZeroDivisionError("sensor 666")
        return await super().add_readings(rows)


@dataclass
class World:
    """A store that fails over sensor 666 until it is mended."""

    store: Any
    tables: Callable[[], Awaitable[Tables]]
    mend: Callable[[], Awaitable[None]]

    def sieve(self) -> Sieve:
        async def once(_: str, step: Callable[[], Awaitable[Outcome]]) -> Outcome:
            return await step()

        return Sieve(Ingest(self.store, StoppedClock()), once)


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    store = Allergic()

    async def tables() -> Tables:
        return store.tables

    async def mend() -> None:
        store.allergic = False

    yield World(store, tables, mend)


@asynccontextmanager
async def postgres_world(url: str) -> AsyncIterator[World]:
    async with pool(url) as connections, connect(url) as connection:
        await connection.execute(RULE)

        async def mend() -> None:
            await connection.execute("alter table sensor_readings drop constraint poison")

        yield World(PostgresLetters(connections, STORE), partial(read_tables, url), mend)


@pytest.fixture(params=["memory", *flavours()])
async def world(request: pytest.FixtureRequest, postgres_servers: Servers) -> AsyncIterator[World]:
    if request.param == "memory":
        async with memory_world() as made:
            yield made
        return
    async with postgres_servers.of(request.param).migrated() as url, postgres_world(url) as made:
        yield made


def poison(sequence: int) -> Batch:
    return a_batch(sequence, sensors=[POISON], times=[NOON + sequence])


def good(sequence: int) -> Batch:
    return a_batch(sequence, times=[NOON + sequence])


def refusals(settled: Settled) -> ranges.Ranges:
    """Return the sequences whose hub was told that they are refused."""
    told: ranges.Ranges = ()
    for arrivals, done in settled:
        for _, body in answers(arrivals, done.entries, STORE, NOON):
            told = ranges.union(told, decode_receipt(body).refused)
    return told


@pytest.mark.spec("Q3")
async def test_poison_is_tried_three_times_refused_alone_and_its_neighbours_are_stored(
    world: World,
) -> None:
    batches = [poison(n) if n == 5 else good(n) for n in range(12)]
    settled = await world.sieve().sift(sort_out(map(a_delivery, batches)))
    tables = await world.tables()
    assert len(tables.readings) == 11
    assert tables.ledger[LIFE].received == ((0, 12),)
    assert tables.ledger[LIFE].refused == refusals(settled) == ((5, 6),)
    (name,) = tables.dead
    assert tables.attempts[name] == TRIES == 3
    assert tables.dead[name].reason.startswith("ingest failed 3 times on it alone: ")


async def test_poison_with_no_good_batch_before_it_refuses_nothing(world: World) -> None:
    sieve = world.sieve()
    with pytest.raises(FAULTS):
        await sieve.sift(sort_out([a_delivery(poison(0))]))
    with pytest.raises(FAULTS):
        await sieve.sift(sort_out(a_delivery(poison(n)) for n in range(9)))
    tables = await world.tables()
    assert (tables.dead, tables.readings) == ({}, {})
    assert not any(entry.received for entry in tables.ledger.values())


async def test_a_fault_that_meets_more_than_were_ever_stored_refuses_none(world: World) -> None:
    batches = [good(0), *(poison(n) for n in range(1, 4))]
    with pytest.raises(FAULTS):
        await world.sieve().sift(sort_out(map(a_delivery, batches)))
    tables = await world.tables()
    assert (tables.dead, tables.ledger[LIFE].received) == ({}, ((0, 1),))


@pytest.mark.spec("Q3")
async def test_poison_replayed_is_poison_still_until_the_fault_is_mended(world: World) -> None:
    await world.sieve().sift(sort_out([a_delivery(good(0)), a_delivery(poison(1))]))
    letters = Letters(world.store, StoppedClock())
    assert (await letters.replay(1, "ann")).fate is Fate.STILL_BAD
    tables = await world.tables()
    assert list(tables.attempts.values()) == [TRIES + 1]
    assert tables.ledger[LIFE].refused == ((1, 2),)
    await world.mend()
    assert (await letters.replay(1, "ann")).fate is Fate.STORED
    tables = await world.tables()
    assert set(tables.readings) == {(1000, NOON), (POISON, NOON + 1)}
    assert (tables.ledger[LIFE].received, tables.ledger[LIFE].refused) == (((0, 2),), ())
