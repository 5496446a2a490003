"""Dead letters decided, twin and PostgreSQL alike: stored exactly once, kept, or dropped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cloud.adapters.postgres.dead_letters import PostgresLetters
from cloud.adapters.postgres.pool import connect, pool
from cloud.core.arrivals import Arrivals, Life, Unreadable, sort_out
from cloud.core.dead_letters import Decision, Fate
from cloud.core.ledger import Entry
from cloud.core.outcome import Outcome
from cloud.core.receipts import answers
from cloud.ingest.replay import Letters
from cloud.ingest.service import REACH, Ingest
from cloud.ports import DEAD_LETTERS_PER_HUB_MAX
from tests.support.builders import EPOCH, HUB, NOON, NORTH, a_batch, a_key, a_seal, a_tombstone
from tests.support.cloud import STORE, Lent, StoppedClock, Tables, a_delivery
from tests.support.cloud_tables import read_tables
from tests.support.letters import MemoryLetters, misread
from tests.support.postgres import Servers, flavours
from wire.batch import Batch, Flag, Tombstone
from wire.codec import encode
from wire.control import Receipt, decode_receipt
from wire.errors import InfrastructureError
from wire.ids import Epoch, HubId, UnixMs
from wire.topics import Channel, topic

LIFE = Life(HUB, EPOCH)
WHY = "sensor ids are not of this version"


@dataclass
class World:
    """A store under test, and a way to look inside."""

    store: Any
    tables: Callable[[], Awaitable[Tables]]
    url: str | None = None

    def letters(self, store: Any = None) -> Letters:
        return Letters(store or self.store, StoppedClock())

    async def settle(self, arrivals: Arrivals) -> tuple[Outcome, dict[Epoch, Receipt]]:
        """Settle through a fresh worker; return the outcome and the receipts it owes."""
        done = await Ingest(self.store, StoppedClock()).flush(arrivals)
        owed = answers(arrivals, done.entries, STORE, NOON)
        receipts = [decode_receipt(body) for _, body in owed]
        return done, {receipt.epoch: receipt for receipt in receipts}

    async def flush(self, *messages: Lent) -> tuple[Outcome, dict[Epoch, Receipt]]:
        return await self.settle(sort_out(messages))

    async def refuse(self, *batches: Batch | Tombstone, why: str = WHY) -> None:
        """Let the ingest of an older version, which cannot read them, settle these batches."""
        await self.settle(misread(*batches, why=why))

    async def replay(self, letter_id: int = 1) -> Decision:
        return await self.letters().replay(letter_id, "ann")


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    store = MemoryLetters()

    async def tables() -> Tables:
        return store.tables

    yield World(store, tables)


@asynccontextmanager
async def postgres_world(url: str) -> AsyncIterator[World]:
    async with pool(url) as connections:
        yield World(PostgresLetters(connections, STORE), lambda: read_tables(url), url)


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
    batch = a_batch(sequence, sensors=[5])
    object.__setattr__(batch, "samples", np.array([0], np.int32))
    return a_delivery(batch)


@pytest.mark.spec("Q3", "S1")
async def test_what_is_good_by_now_is_stored_once_under_its_own_key(world: World) -> None:
    await world.flush(a_delivery(a_batch(0)), a_delivery(a_batch(2, times=[NOON + 2])))
    late = a_batch(1, times=[NOON + 1])
    await world.refuse(late)
    assert (await world.tables()).ledger[LIFE] == Entry(((0, 3),), ((1, 2),), (), 3)
    decision = await world.replay()
    assert (decision.fate, decision.rows) == (Fate.STORED, 1)
    tables = await world.tables()
    assert sorted(at for _, at in tables.readings) == [NOON, NOON + 1, NOON + 2]
    assert tables.ledger[LIFE] == Entry(((0, 3),), (), (), 3)
    assert [len(contents) for contents in tables.log.values()] == [1, 1, 1]
    ((name, (state, by)),) = tables.decided.items()
    assert (name[0], state, by) == (late.key, "replayed", "ann")
    assert tables.dead[name].body == encode(late), "the record is never deleted"


@pytest.mark.spec("Q3")
async def test_whoever_replays_it_again_changes_nothing(world: World) -> None:
    await world.refuse(a_batch())
    await world.replay()
    before = await world.tables()
    decision = await world.letters().replay(1, "bob")
    assert (decision.fate, decision.reason) == (Fate.DECIDED, "replayed")
    assert await world.tables() == before


async def test_a_resend_after_the_replay_is_a_duplicate_and_the_hub_may_forget(
    world: World,
) -> None:
    await world.refuse(a_batch())
    await world.replay()
    done, receipts = await world.flush(a_delivery(a_batch()))
    assert (done.rows, done.batches["duplicates"], done.batches["reused"]) == (0, 1, 0)
    assert (receipts[EPOCH].received, receipts[EPOCH].refused) == (((0, 1),), ())
    assert len((await world.tables()).readings) == 1


@pytest.mark.spec("Q3")
async def test_what_is_still_bad_stays_with_one_attempt_more_and_its_new_reason(
    world: World,
) -> None:
    bad = sort_out([unreadable()])
    (parcel,) = bad.parcels.values()
    object.__setattr__(parcel, "content", Unreadable(WHY))
    await world.settle(bad)
    before = await world.tables()
    decision = await world.replay()
    after = await world.tables()
    ((name, letter),) = after.dead.items()
    assert (decision.fate, decision.reason) == (Fate.STILL_BAD, letter.reason)
    assert "samples" in letter.reason
    assert (after.attempts[name], after.decided) == (2, {})
    assert (after.ledger, after.log, after.readings) == (before.ledger, before.log, {})


async def test_a_name_that_is_anothers_and_a_key_that_is_taken_stay_so(world: World) -> None:
    await world.flush(a_delivery(a_batch(ph=7.0)))
    foreign = Lent(topic(NORTH, HubId("hub-9"), Channel.BATCH), encode(a_batch(3)))
    await world.flush(foreign)
    await world.flush(a_delivery(a_batch(ph=8.0)))
    before = await world.tables()
    assert [letter.reason for letter in before.dead.values()] == [
        f"claims to be {NORTH}/{HUB}",
        "key reuse",
    ]
    for number, letter in enumerate(before.dead.values(), start=1):
        decision = await world.replay(number)
        assert (decision.fate, decision.reason) == (Fate.STILL_BAD, letter.reason)
    after = await world.tables()
    assert set(after.attempts.values()) == {2}
    assert (after.readings, after.ledger, after.dead) == (
        before.readings,
        before.ledger,
        before.dead,
    )


async def test_another_content_never_takes_a_refused_key(world: World) -> None:
    await world.refuse(a_batch(ph=7.0))
    await world.flush(a_delivery(a_batch(ph=8.0)))
    assert (await world.replay(2)).fate is Fate.STILL_BAD
    assert (await world.tables()).readings == {}
    assert (await world.replay(1)).fate is Fate.STORED
    ((row, *_),) = (await world.tables()).readings.values()
    assert 7.0 in row


async def test_a_refused_batch_named_again_beside_another_is_still_the_refused_one(
    world: World,
) -> None:
    first, other = a_delivery(a_batch(ph=7.0)), a_delivery(a_batch(ph=8.0))
    await world.refuse(a_batch(ph=7.0))
    await world.flush(other, first)  # within one flush the first to come has the key
    reasons = {letter.reason for letter in (await world.tables()).dead.values()}
    assert reasons == {WHY, "key reuse"}
    assert (await world.replay(1)).fate is Fate.STORED


@pytest.mark.spec("Q3")
async def test_a_drop_is_a_decision_on_record_and_the_first_one_holds(world: World) -> None:
    await world.refuse(a_batch())
    before = await world.tables()
    ledger, dead = dict(before.ledger), dict(before.dead)
    assert (await world.letters().drop(1, "ann")).fate is Fate.DROPPED
    again = await world.letters().drop(1, "bob")
    assert (again.fate, again.reason) == (Fate.DECIDED, "dropped")
    assert (await world.replay()).fate is Fate.DECIDED
    tables = await world.tables()
    assert list(tables.decided.values()) == [("dropped", "ann")]
    assert (tables.ledger, tables.dead, tables.readings) == (ledger, dead, {})


async def test_a_letter_nobody_has_is_unknown(world: World) -> None:
    assert (await world.replay(77)).fate is Fate.UNKNOWN
    assert (await world.letters().drop(77, "ann")).fate is Fate.UNKNOWN


async def test_rows_are_judged_one_by_one_as_if_they_came_now(world: World) -> None:
    await world.flush(a_delivery(a_batch(0, sensors=[1, 2], ph=[7.0, 7.0])))
    await world.flush(a_delivery(a_batch(seal=a_seal(hub="hub-2"), sensors=[50])))
    times = np.array([NOON, NOON, NOON, NOON - REACH.retention_ms - 1, NOON])
    await world.refuse(a_batch(1, sensors=[1, 2, 3, 4, 50], ph=[7.0, 7.5, 7, 7, 7], times=times))
    decision = await world.replay()
    assert decision == Decision(
        *(1, Fate.STORED), rows=1, refused_rows=2, duplicate_rows=1, conflicts=1
    )
    tables = await world.tables()
    assert {sensor for sensor, _ in tables.readings} == {1, 2, 3, 50}
    assert sorted(tables.refused.values()) == ["expired", "foreign"]
    assert len(tables.conflicts) == 1


async def test_a_tombstone_sheds_what_never_came_even_late(world: World) -> None:
    await world.flush(a_delivery(a_batch(3)))
    await world.refuse(a_tombstone(9, low=2, high=5))
    await world.replay()
    entry = (await world.tables()).ledger[LIFE]
    assert entry == Entry(((2, 5), (9, 10)), (), ((2, 3), (4, 5)), 10)


async def test_two_who_replay_and_a_hub_that_resends_store_it_once(world: World) -> None:
    await world.refuse(a_batch(sensors=[1, 2, 3]))
    async with asyncio.TaskGroup() as tasks:
        replays = [tasks.create_task(world.replay()) for _ in range(3)]
        resends = [tasks.create_task(world.flush(a_delivery(a_batch()))) for _ in range(3)]
    fates = sorted(task.result().fate for task in replays)
    assert fates == [Fate.DECIDED, Fate.DECIDED, Fate.STORED]
    assert all(task.result()[0].rows == 0 for task in resends)
    tables = await world.tables()
    assert (len(tables.readings), tables.ledger[LIFE].refused) == (3, ())
    assert [len(contents) for contents in tables.log.values()] == [1]


class Fuse:
    """A store that dies at the so-many-th statement of a transaction."""

    def __init__(self, store: Any, statements: int) -> None:
        self._store, self.left = store, statements

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self._store.transaction() as transaction:
            yield _Fused(self, transaction)

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise InfrastructureError("dead")


class _Fused:
    def __init__(self, fuse: Fuse, transaction: Any) -> None:
        self._fuse, self._transaction = fuse, transaction

    def __getattr__(self, name: str) -> Any:
        self._fuse.burn()
        return getattr(self._transaction, name)


async def test_killed_before_any_statement_a_replay_has_changed_nothing(world: World) -> None:
    await world.refuse(a_batch(sensors=[1, 2]))
    before = await world.tables()
    readings, ledger, log = dict(before.readings), dict(before.ledger), dict(before.log)
    for statements in range(30):
        try:
            decision = await world.letters(Fuse(world.store, statements)).replay(1, "ann")
        except InfrastructureError:
            after = await world.tables()
            assert (after.readings, after.ledger, after.log) == (readings, ledger, log)
            assert after.decided == {}
        else:
            assert (decision.fate, decision.rows) == (Fate.STORED, 2)
            assert statements > 8
            return
    raise AssertionError("it never came to an end")


async def test_a_replay_whose_answer_was_lost_is_known_as_done(world: World) -> None:
    await world.refuse(a_batch())

    class Deaf(Fuse):
        @asynccontextmanager
        async def transaction(self) -> AsyncIterator[Any]:
            async with self._store.transaction() as transaction:
                yield transaction
            raise InfrastructureError("committed, and the answer is lost")

    with pytest.raises(InfrastructureError):
        await world.letters(Deaf(world.store, 0)).replay(1, "ann")
    assert (await world.replay()).fate is Fate.DECIDED
    assert len((await world.tables()).readings) == 1


async def test_decided_letters_leave_their_hub_room(world: World) -> None:
    await world.refuse(*(a_batch(n) for n in range(DEAD_LETTERS_PER_HUB_MAX)))
    await world.refuse(a_batch(5_000))
    assert len((await world.tables()).dead) == DEAD_LETTERS_PER_HUB_MAX
    await world.letters().drop(1, "ann")
    await world.refuse(a_batch(5_001))
    keys = {key for key, _ in (await world.tables()).dead}
    assert (a_key(5_000) in keys, a_key(5_001) in keys) == (False, True)


async def test_the_raw_form_of_a_thinned_batch_refused_is_no_key_reuse(world: World) -> None:
    raw = a_batch(times=[NOON, NOON + 1_000])
    await world.refuse(a_batch(seal=a_seal(flags=Flag.THINNED, rows_lost=1), samples=2))
    if world.url is None:
        world.store.tables.log.clear()
    else:
        async with connect(world.url) as connection:
            await connection.execute("delete from batch_log")  # its months are over
    done, _ = await world.flush(a_delivery(raw))
    assert (done.batches["reused"], done.batches["duplicates"]) == (0, 1)
    assert len((await world.tables()).dead) == 1


async def test_the_sweep_sees_what_a_replay_stored(database_url: str) -> None:
    async with postgres_world(database_url) as world, connect(database_url) as connection:
        await world.refuse(a_batch(times=[NOON, UnixMs(NOON + 5_000)]))
        due = "select count(*) from hub_ledger where not isempty(received - refused - shed)"
        assert await connection.fetchval(due) == 0
        await world.replay()
        assert await connection.fetchval(due) == 1
        logged = await connection.fetchrow(
            "select rows, observed_to - observed_from as span from batch_log"
        )
        assert logged is not None
        assert (logged["rows"], logged["span"].total_seconds()) == (2, 5.0)
