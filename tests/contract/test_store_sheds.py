"""What a hub says it lost is kept with its reason, in the ledger's own transaction."""

from dataclasses import replace

import pytest

from cloud.adapters.postgres.gaps import Gaps
from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import PostgresStore
from cloud.core.arrivals import sort_out
from cloud.core.gaps import Cause
from cloud.ingest.service import Ingest
from cloud.ports import Store
from tests.support.builders import HUB, NORTH, a_batch, a_tombstone
from tests.support.cloud import STORE, Lent, MemoryStore, StoppedClock, a_delivery
from tests.support.cloud_tables import read_tables
from wire.batch import Tombstone
from wire.codec import encode
from wire.errors import InfrastructureError
from wire.ids import Epoch
from wire.topics import Channel, topic

LOST = a_tombstone(9, low=2, high=5)
EARLIER = replace(a_tombstone(10, low=0, high=7), epoch=Epoch(7), reason="disk worn out")


def told(lost: Tombstone) -> tuple[object, ...]:
    """Return what is kept of a tombstone."""
    span = (lost.observed_from_ms, lost.observed_to_ms)
    return (lost.epoch, lost.low, lost.high, *span, lost.rows, lost.reason)


def sent(*tombstones: Tombstone) -> list[Lent]:
    return [Lent(topic(NORTH, HUB, Channel.BATCH), encode(lost)) for lost in tombstones]


async def flush(store: Store, *lent: Lent) -> None:
    await Ingest(store, StoppedClock()).flush(sort_out(lent))


@pytest.mark.spec("I6")
async def test_each_tombstone_is_kept_once_whatever_comes_again(database_url: str) -> None:
    expected = {LOST.key: told(LOST), EARLIER.key: told(EARLIER)}
    twin = MemoryStore()
    async with pool(database_url) as connections:
        real = PostgresStore(connections, STORE)
        for store in (twin, real):
            await flush(store, *sent(LOST))
            await flush(store, *sent(LOST, EARLIER), a_delivery(a_batch(1)))
            async with store.transaction() as transaction:  # another worker's, of the same
                await transaction.add_sheds([replace(LOST, reason="again")])
    assert twin.tables.sheds == expected
    assert (await read_tables(database_url)).sheds == expected


async def test_a_tombstone_is_kept_if_and_only_if_the_ledger_has_it() -> None:
    store = MemoryStore()
    store.failing = 1
    with pytest.raises(InfrastructureError):
        await flush(store, *sent(LOST))
    assert (store.tables.sheds, store.tables.ledger) == ({}, {})


async def test_a_gap_says_the_hubs_own_reason(database_url: str) -> None:
    async with pool(database_url) as connections:
        await flush(PostgresStore(connections, STORE), *sent(LOST, EARLIER))
        holes = await Gaps(connections).holes(HUB, (HUB, Epoch(0), -1), 10)
    shed = {(hole.low, hole.high): hole.reasons for hole in holes if hole.settled is Cause.SHED}
    assert shed == {(2, 5): ("spool at its cap",), (0, 7): ("disk worn out",)}
