"""Ingest over the store, twin and PostgreSQL alike: every batch's fate, decided once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import PostgresStore
from cloud.core.arrivals import Life, sort_out
from cloud.core.ledger import EPOCHS_PER_HUB_HOUR_MAX, Entry
from cloud.core.outcome import Outcome
from cloud.core.receipts import answers
from cloud.ingest.service import REACH, Ingest
from cloud.ports import Store
from tests.support.builders import EPOCH, HUB, NOON, NORTH, a_batch, a_key, a_seal, a_tombstone
from tests.support.cloud import STORE, Lent, MemoryStore, StoppedClock, Tables, a_delivery
from tests.support.cloud_tables import read_tables
from tests.support.postgres import Servers, flavours
from wire.batch import Batch, Flag, Kind
from wire.codec import encode
from wire.control import Held, Hello, Receipt, decode_receipt, encode_hello
from wire.ids import Epoch, HubId
from wire.limits import FUTURE_MS_MAX, RANGES_PER_EPOCH_MAX
from wire.metric import METRICS, Metric
from wire.topics import Channel, topic

LIFE = Life(HUB, EPOCH)


@dataclass
class World:
    """A store under test, and a way to look inside."""

    store: Any
    tables: Callable[[], Awaitable[Tables]]

    def ingest(self, store: Store | None = None) -> Ingest:
        return Ingest(store or self.store, StoppedClock())

    async def flush(self, *messages: Lent) -> tuple[Outcome, dict[Epoch, Receipt]]:
        """Flush through a fresh worker; return the outcome and the receipts it owes."""
        arrivals = sort_out(messages)
        done = await self.ingest().flush(arrivals)
        owed = answers(arrivals, done.entries, STORE, NOON)
        receipts = [decode_receipt(body) for _, body in owed]
        return done, {receipt.epoch: receipt for receipt in receipts}


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    store = MemoryStore()

    async def tables() -> Tables:
        return store.tables

    yield World(store, tables)


@asynccontextmanager
async def postgres_world(url: str) -> AsyncIterator[World]:
    async with pool(url) as connections:
        yield World(PostgresStore(connections, STORE), lambda: read_tables(url))


@pytest.fixture(params=["memory", *flavours()])
async def world(request: pytest.FixtureRequest, postgres_servers: Servers) -> AsyncIterator[World]:
    if request.param == "memory":
        async with memory_world() as made:
            yield made
        return
    async with postgres_servers.of(request.param).migrated() as url, postgres_world(url) as made:
        yield made


def unreadable(sequence: int = 0) -> Lent:
    """Return a batch whose header and checksums hold over rows that cannot be."""
    batch = a_batch(sequence, ph=[7.0], sensors=[5])
    object.__setattr__(batch, "samples", np.array([0], np.int32))
    return a_delivery(batch)


@pytest.mark.spec("S1", "K4", "K5")
async def test_a_batch_is_stored_once_and_receipted(world: World) -> None:
    batch = a_batch(sensors=[7, 8], ph=[7.1, np.nan])
    done, receipts = await world.flush(a_delivery(batch))
    tables = await world.tables()
    assert set(tables.readings) == {(7, NOON), (8, NOON)}
    assert tables.readings[7, NOON][0][Metric.PH] == pytest.approx(7.1)
    assert tables.ledger == {LIFE: Entry(((0, 1),), next_sequence=1)}
    assert list(tables.log) == [batch.key]
    assert receipts[EPOCH].received == ((0, 1),)
    assert (done.rows, done.batches["stored"]) == (2, 1)


@pytest.mark.spec("S2")
async def test_what_was_not_measured_is_null_never_nan(world: World) -> None:
    await world.flush(a_delivery(a_batch(ph=np.nan)))
    (row,) = (await world.tables()).readings.values()
    assert row == ((None,) * METRICS, 0, None, 1)


async def test_a_flush_of_nothing_but_duplicates_still_owes_receipts(world: World) -> None:
    await world.flush(a_delivery(a_batch()))
    done, receipts = await world.flush(a_delivery(a_batch()), a_delivery(a_batch()))
    assert receipts[EPOCH].received == ((0, 1),)
    assert (done.rows, done.batches["duplicates"]) == (0, 2)
    assert len((await world.tables()).readings) == 1


async def test_one_sequence_of_two_lives_is_two_batches(world: World) -> None:
    other = a_batch(seal=a_seal(epoch=7), times=[NOON + 1_000])
    done, receipts = await world.flush(a_delivery(a_batch()), a_delivery(other))
    assert done.rows == 2
    assert receipts.keys() == {EPOCH, 7}


async def test_a_refusal_is_a_fate_in_ledger_and_dead_letters(world: World) -> None:
    lent = unreadable()
    done, receipts = await world.flush(lent, a_delivery(a_batch(1)))
    tables = await world.tables()
    assert tables.ledger[LIFE] == Entry(((0, 2),), ((0, 1),), next_sequence=2)
    ((letter,),) = [tuple(tables.dead.values())]
    assert (letter.key, letter.body) == (a_key(0), lent.body)
    assert receipts[EPOCH].refused == ((0, 1),)
    assert done.batches["refused"] == 1
    again, receipts = await world.flush(lent)
    assert receipts[EPOCH].refused == ((0, 1),)
    assert again.batches["reused"] == 0


async def test_damage_is_never_terminal(world: World) -> None:
    lent = a_delivery(a_batch())
    for damaged in (lent.body[:-1], lent.body[:-4] + b"\0\0\0\0", b"", b"\xff" * 40):
        done, receipts = await world.flush(Lent(lent.topic, damaged))
        assert receipts == {}
        assert done.batches["damaged"] == 1
    tables = await world.tables()
    assert (tables.ledger, tables.dead) == ({}, {})
    assert (await world.flush(lent))[0].rows == 1


async def test_a_tombstone_sheds_only_what_never_arrived(world: World) -> None:
    await world.flush(a_delivery(a_batch(3)))
    lost = a_tombstone(9, low=2, high=5)
    lent = Lent(topic(NORTH, HUB, Channel.BATCH), encode(lost))
    at_once = a_delivery(a_batch(4, times=[NOON + 4_000]))
    done, receipts = await world.flush(lent, at_once)
    entry = (await world.tables()).ledger[LIFE]
    assert entry == Entry(((2, 5), (9, 10)), (), ((2, 3),), 10)
    assert receipts[EPOCH].received == ((2, 5), (9, 10))
    assert done.shed == 1
    late, receipts = await world.flush(a_delivery(a_batch(2, times=[NOON + 2_000])))
    assert (late.rows, late.batches["duplicates"]) == (0, 1)


async def test_a_tombstone_may_name_an_earlier_life(world: World) -> None:
    lost = replace(a_tombstone(9, low=0, high=2), epoch=Epoch(7))
    _, receipts = await world.flush(Lent(topic(NORTH, HUB, Channel.BATCH), encode(lost)))
    ledger = (await world.tables()).ledger
    assert ledger[Life(HUB, Epoch(7))] == Entry(((0, 2),), (), ((0, 2),), 2)
    assert receipts[Epoch(7)].received == ((0, 2),)


async def test_another_content_under_a_taken_key_is_kept_and_changes_nothing(world: World) -> None:
    first, other = a_batch(ph=7.0), a_batch(ph=8.0)
    await world.flush(a_delivery(first))
    done, receipts = await world.flush(a_delivery(other))
    tables = await world.tables()
    assert tables.readings[1000, NOON][0][Metric.PH] == 7.0
    assert [letter.body for letter in tables.dead.values()] == [encode(other)]
    assert done.batches["reused"] == 1
    assert receipts[EPOCH].received == ((0, 1),)


async def test_two_contents_under_one_key_in_one_flush_are_seen(world: World) -> None:
    done, _ = await world.flush(a_delivery(a_batch(ph=7.0)), a_delivery(a_batch(ph=8.0)))
    assert (done.rows, done.batches["reused"]) == (1, 1)
    assert len((await world.tables()).dead) == 1


@pytest.mark.parametrize("thinned_first", [True, False])
async def test_thinned_or_raw_whichever_commits_first_is_the_batch(
    world: World, thinned_first: bool
) -> None:
    raw = a_batch(times=[NOON, NOON + 1_000])
    thinned = a_batch(seal=a_seal(flags=Flag.THINNED, rows_lost=1), samples=2)
    first, second = (thinned, raw) if thinned_first else (raw, thinned)
    await world.flush(a_delivery(first))
    done, _ = await world.flush(a_delivery(second))
    tables = await world.tables()
    assert len(tables.readings) == len(first)
    assert (done.batches["duplicates"], tables.dead) == (1, {})


async def test_rows_are_refused_one_by_one_with_a_reason(world: World) -> None:
    await world.flush(a_delivery(a_batch(seal=a_seal(hub="hub-2"), sensors=[50])))
    sensors = [1, 2, 3, 4, 5, 6, 50]
    times = np.array([NOON] * 7)
    times[1:3] += [FUTURE_MS_MAX, FUTURE_MS_MAX + 1]
    times[3:5] -= [REACH.retention_ms, REACH.retention_ms + 1]
    batch = a_batch(sensors=sensors, times=times, ph=[7, 7, 7, 7, 7, 14.5, 7])
    done, receipts = await world.flush(a_delivery(batch))
    tables = await world.tables()
    assert {sensor for sensor, _ in tables.readings} == {50, 1, 2, 4}
    reasons = {sensor: why for ((sensor, _), _), why in tables.refused.items()}
    assert reasons == {3: "future", 5: "expired", 6: "impossible", 50: "foreign"}
    assert receipts[EPOCH].refused == ()
    assert sum(done.refused_rows.values()) == 4


async def test_a_backfill_carries_its_own_floor(world: World) -> None:
    floor = NOON - 9 * REACH.retention_ms
    seal = a_seal(flags=Flag.BACKFILL, floor_ms=floor)
    await world.flush(a_delivery(a_batch(seal=seal, times=[floor - 1, floor])))
    tables = await world.tables()
    assert list(tables.readings) == [(1000, floor)]
    assert list(tables.refused.values()) == ["expired"]


async def test_no_hubs_word_makes_the_store_keep_the_ages(world: World) -> None:
    month = 31 * 86_400_000
    floor = REACH.backfill_from_ms
    times = np.append(np.arange(floor % month, floor, month), [floor, NOON])
    seal = a_seal(flags=Flag.BACKFILL, floor_ms=0)
    done, receipts = await world.flush(a_delivery(a_batch(seal=seal, times=times)))
    tables = await world.tables()
    assert sorted(at for _, at in tables.readings) == [floor, NOON]
    assert done.refused_rows == {"expired": len(times) - 2}
    assert receipts[EPOCH].refused == (), "its rows are refused, the batch is settled"


async def test_another_hubs_name_is_kept_for_people_and_settles_nothing(world: World) -> None:
    body = encode(a_batch())
    done, receipts = await world.flush(Lent(topic(NORTH, HubId("hub-9"), Channel.BATCH), body))
    tables = await world.tables()
    assert (tables.readings, tables.ledger, receipts) == ({}, {}, {})
    ((key, _),) = tables.dead
    assert key == a_key(hub="hub-9")
    assert done.batches["impostors"] == 1


async def test_evidence_is_a_copy_beside_the_series(world: World) -> None:
    seal = a_seal(1, kind=Kind.EVIDENCE)
    copy = a_batch(seal=seal, times=[NOON, NOON + 1_000])
    done, _ = await world.flush(a_delivery(a_batch()), a_delivery(copy, channel=Channel.URGENT))
    assert (done.rows, done.evidence) == (1, 2)
    again = a_batch(seal=a_seal(2, kind=Kind.EVIDENCE), times=[NOON + 1_000, NOON + 2_000])
    done, _ = await world.flush(a_delivery(again, channel=Channel.URGENT))
    tables = await world.tables()
    assert (done.evidence, len(tables.evidence), len(tables.readings)) == (1, 3, 1)


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_instant_said_twice_is_stored_once_and_a_contradiction_kept(
    world: World, at_once: bool
) -> None:
    first = a_delivery(a_batch(0, sensors=[1, 2], ph=[7.0, 7.0]))
    again = a_batch(1, sensors=[1, 2, 3], ph=[7.0004, 7.3, 7.0])
    outcomes = []
    for messages in [(first, a_delivery(again))] if at_once else [(first,), (a_delivery(again),)]:
        outcomes.append((await world.flush(*messages))[0])
    tables = await world.tables()
    assert {sensor: row[0][Metric.PH] for (sensor, _), row in tables.readings.items()} == {
        1: 7.0,
        2: 7.0,
        3: 7.0,
    }
    ((((sensor, _), key), row),) = tables.conflicts.items()
    assert (sensor, key) == (2, again.key)
    assert row[0][Metric.PH] == pytest.approx(7.3)
    assert outcomes[-1].duplicate_rows == 1
    assert outcomes[-1].conflicts == 1
    assert tables.ledger[LIFE].received == ((0, 2),)


async def test_a_hello_learns_of_what_it_holds_and_tells_how_far_it_got(world: World) -> None:
    await world.flush(*(a_delivery(a_batch(n, times=[NOON + n])) for n in (0, 1, 5, 9)))
    hello = Hello((Held(EPOCH, 12, ((4, 6), (8, 12))), Held(Epoch(77), 3, ((0, 3),))))
    lent = Lent(topic(NORTH, HUB, Channel.HELLO), encode_hello(hello))
    _, receipts = await world.flush(lent)
    assert receipts[EPOCH].received == ((0, 2), (5, 6), (9, 10))
    assert receipts[Epoch(77)].received == ()
    ledger = (await world.tables()).ledger
    assert ledger[LIFE].next_sequence == 12
    assert ledger[Life(HUB, Epoch(77))].next_sequence == 3


async def test_beyond_the_bound_of_ranges_a_batch_has_no_fate(world: World) -> None:
    odd = tuple((2 * n, 2 * n + 1) for n in range(RANGES_PER_EPOCH_MAX))
    async with world.store.transaction() as transaction:
        await transaction.lock({LIFE: NORTH})
        await transaction.settle({LIFE: Entry(odd, next_sequence=5_000)})
    adds, joins = a_batch(4_000), a_batch(1, times=[NOON + 1])
    done, receipts = await world.flush(a_delivery(adds))
    assert (done.batches["left"], done.rows) == (1, 0)
    assert (4_000, 4_001) not in receipts[EPOCH].received
    assert (await world.flush(a_delivery(joins)))[0].rows == 1
    entry = (await world.tables()).ledger[LIFE]
    assert len(entry.received) == RANGES_PER_EPOCH_MAX - 1
    assert (await world.flush(a_delivery(adds)))[0].rows == 1


async def test_a_hub_may_open_only_so_many_lives_an_hour(world: World) -> None:
    lives = [Life(HUB, Epoch(n)) for n in range(EPOCHS_PER_HUB_HOUR_MAX - 1)]
    async with world.store.transaction() as transaction:
        await transaction.lock(dict.fromkeys(lives, NORTH))
    fresh = [a_batch(seal=a_seal(epoch=5_000 + n), times=[NOON + n]) for n in range(3)]
    done, receipts = await world.flush(*map(a_delivery, fresh))
    assert (done.batches["stored"], done.batches["left"]) == (1, 2)
    assert sum(bool(receipt.received) for receipt in receipts.values()) == 1
    done, _ = await world.flush(a_delivery(a_batch(seal=a_seal(hub="hub-2"), times=[NOON + 9])))
    assert done.batches["stored"] == 1


class Meeting:
    """A store whose transactions all reach the ledger before any of them locks it."""

    def __init__(self, store: Any, workers: int) -> None:
        self._store = store
        self._all = asyncio.Barrier(workers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as transaction:
            lock, first = transaction.lock, True

            async def meet(lives: Any) -> Any:
                nonlocal first
                if first:
                    first = False
                    async with asyncio.timeout(10):
                        await self._all.wait()
                return await lock(lives)

            transaction.lock = meet
            yield transaction


async def race(world: World, *batches: Batch) -> list[Outcome]:
    """Flush each batch by a worker of its own; all have loaded before any locks."""
    meeting: Any = Meeting(world.store, len(batches))
    async with asyncio.TaskGroup() as workers:
        tasks = [
            workers.create_task(world.ingest(meeting).flush(sort_out([a_delivery(batch)])))
            for batch in batches
        ]
    return [task.result() for task in tasks]


async def test_of_two_workers_with_one_batch_exactly_one_stores(world: World) -> None:
    raw = a_batch(times=[NOON, NOON + 1_000])
    thinned = a_batch(seal=a_seal(flags=Flag.THINNED, rows_lost=1), times=[NOON + 2_000])
    outcomes = await race(world, raw, thinned)
    tables = await world.tables()
    assert sorted(len(each.entries[LIFE].received) for each in outcomes) == [1, 1]
    assert sorted(each.batches["duplicates"] for each in outcomes) == [0, 1]
    assert len(tables.readings) == sum(each.rows for each in outcomes)
    assert len(tables.log[raw.key]) == 1


async def test_two_workers_open_one_life_at_once_and_both_settle(world: World) -> None:
    outcomes = await race(world, a_batch(0), a_batch(1, times=[NOON + 1_000]))
    tables = await world.tables()
    assert tables.ledger[LIFE] == Entry(((0, 2),), next_sequence=2)
    assert [each.rows for each in outcomes] == [1, 1]


async def test_two_workers_with_one_instant_in_two_batches_store_it_once(world: World) -> None:
    async with asyncio.TaskGroup() as workers:
        tasks = [
            workers.create_task(world.ingest().flush(sort_out([a_delivery(a_batch(n))])))
            for n in range(2)
        ]
    assert sorted(task.result().rows for task in tasks) == [0, 1]
    tables = await world.tables()
    assert (len(tables.readings), tables.ledger[LIFE].received) == (1, ((0, 2),))
