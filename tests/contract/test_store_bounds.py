"""What one hub can make the store keep is bounded: the oldest stays, the rest is counted."""

from typing import Any

import numpy as np
import pytest

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import PostgresStore
from cloud.core.arrivals import DeadLetter, sort_out
from cloud.core.detect_state import SENSORS_PER_HUB_MAX
from cloud.ingest.service import Ingest
from cloud.ports import DEAD_LETTERS_PER_HUB_MAX, NOBODY
from tests.support.builders import HUB, NORTH, a_batch, a_key
from tests.support.cloud import STORE, MemoryStore, StoppedClock, a_delivery
from wire.doors import EVERY_DOOR
from wire.ids import HubId

OTHER = HubId("hub-2")


def letters(first: int, count: int, hub: str = HUB) -> list[DeadLetter]:
    return [DeadLetter(a_key(n, hub=hub), 1, "no rows", b"") for n in range(first, first + count)]


async def kept(store: Any, *added: DeadLetter) -> int:
    """Return how many were not kept."""
    async with store.transaction() as transaction:
        return int(await transaction.add_dead_letters(added))


async def check_letters(store: Any) -> None:
    assert await kept(store, *letters(0, DEAD_LETTERS_PER_HUB_MAX - 1)) == 0
    assert await kept(store, *letters(5_000, 3)) == 2
    assert await kept(store, *letters(0, 5), *letters(6_000, 1)) == 1, "those kept are no news"
    assert await kept(store, *letters(0, 1, OTHER)) == 0
    async with store.transaction() as transaction:
        known = await transaction.contents([a_key(0), a_key(5_000), a_key(5_001), a_key(6_000)])
    assert set(known) == {a_key(0), a_key(5_000)}


async def check_sensors(store: Any) -> None:
    async def claim(first: int, count: int, hub: HubId) -> list[HubId]:
        ids = np.arange(first, first + count, dtype=np.int64)
        return list(await store.claim(ids, [hub] * count, [NORTH] * count))

    assert set(await claim(0, SENSORS_PER_HUB_MAX - 1, HUB)) == {HUB}
    assert await claim(100_000, 3, HUB) == [HUB, NOBODY, NOBODY]
    assert await claim(0, 2, HUB) == [HUB, HUB], "what it has it keeps"
    assert await claim(100_000, 3, OTHER) == [HUB, OTHER, OTHER]
    assert set(await claim(300_000, SENSORS_PER_HUB_MAX + 1, EVERY_DOOR)) == {EVERY_DOOR}
    batch = a_batch(sensors=[0, 100_001, 200_000])
    done = await Ingest(store, StoppedClock()).flush(sort_out([a_delivery(batch)]))
    assert done.rows == 1
    assert done.refused_rows == {"foreign": 1, "crowded": 1}


@pytest.mark.parametrize("check", [check_letters, check_sensors])
async def test_a_hub_that_fills_what_it_may_leaves_the_others_room(
    check: Any, database_url: str
) -> None:
    await check(MemoryStore())
    async with pool(database_url) as connections:
        await check(PostgresStore(connections, STORE))
