"""The database a replay writes into: whose it may be, and what it takes that others leave."""

import pytest

from cloud.adapters.amqp_log import PREFETCH
from cloud.adapters.postgres.pool import connect, pool
from cloud.adapters.postgres.scratch import (
    SENSORS_AT_ONCE,
    ScratchStore,
    adopt_speakers,
    take_possession,
)
from cloud.core.arrivals import sort_out
from cloud.core.errors import OperatorError
from cloud.ingest.service import Ingest
from tests.support.builders import NOON, a_batch, a_seal
from tests.support.cloud import STORE, StoppedClock, a_delivery
from tests.support.postgres import Server


async def test_only_an_empty_database_or_one_a_replay_began_with_is_taken(
    empty_database_url: str, database_url: str
) -> None:
    use = "insert into sensors (sensor_id, hub_id, region) values (1, 'hub', 'north')"
    async with connect(empty_database_url) as new, connect(database_url) as migrated:
        await take_possession(new)
        await take_possession(migrated)
        await migrated.execute(use)
        await take_possession(migrated)  # said again, with something in it
        await migrated.execute("drop table replay_scratch")
        with pytest.raises(OperatorError, match="store in use"):
            await take_possession(migrated)
        assert await migrated.fetchval("select to_regclass('replay_scratch')") is None


async def test_a_replay_takes_more_lives_than_an_hour_has_room_for(database_url: str) -> None:
    async with pool(database_url) as connections:
        ingest = Ingest(ScratchStore(connections, STORE), StoppedClock())
        for first in range(0, 3 * PREFETCH, PREFETCH):
            lives = range(first, first + PREFETCH)
            batches = [a_batch(seal=a_seal(epoch=n), times=[NOON + n]) for n in lives]
            done = await ingest.flush(sort_out(a_delivery(batch) for batch in batches))
            assert (done.batches["stored"], done.batches["left"]) == (PREFETCH, 0)


async def test_who_speaks_for_a_sensor_is_taken_from_another_store_and_what_is_known_stays(
    database_url: str, postgres_server: Server
) -> None:
    sensors = SENSORS_AT_ONCE + 3
    async with (
        postgres_server.migrated() as url,
        connect(database_url) as original,
        connect(url) as scratch,
    ):
        await original.execute(
            "insert into sensors (sensor_id, hub_id, region) "
            f"select n, 'hub-' || n % 7, 'north' from generate_series(0, {sensors - 1}) n"
        )
        await scratch.execute("insert into sensors values (5, 'replayed', 'north')")
        for _ in "ab":
            assert await adopt_speakers(original, scratch) == sensors
        count = "select count(*) from sensors where hub_id = 'hub-' || sensor_id % 7"
        assert await scratch.fetchval(count) == sensors - 1
