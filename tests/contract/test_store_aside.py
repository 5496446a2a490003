"""A flush of nothing but refused rows keeps them all and never holds its process up for long."""

import asyncio

import asyncpg
import numpy as np

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import KEPT_AT_ONCE, PostgresStore
from cloud.core.rows import Rows
from tests.support.builders import NOON, a_key
from tests.support.cloud import STORE

ROWS = 20_000


def wild(count: int) -> Rows:
    number = np.arange(count)
    return Rows(
        number.astype(np.int64),
        np.full(count, NOON, np.int64),
        (0, 3),
        np.stack([number, np.where(number % 2, np.nan, number)]).astype(np.float32),
        np.zeros(count, np.int16),
        np.full(count, np.nan, np.float32),
        np.ones(count, np.int32),
        (number % 2).astype(np.int32),
    )


async def test_rows_put_aside_give_way_to_others(database_url: str) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    keys, reasons = [a_key(0), a_key(1)], [f"reason {n % 3}" for n in range(ROWS)]
    async with pool(database_url) as connections, asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count_turns())
        async with PostgresStore(connections, STORE).transaction() as transaction:
            before = turns
            await transaction.add_refused(wild(ROWS), reasons, keys)
        counting.cancel()
    assert turns - before >= ROWS // KEPT_AT_ONCE
    connection = await asyncpg.connect(database_url)
    kept = await connection.fetch("select * from refused_readings order by sensor_id")
    await connection.close()
    assert [row["reason"] for row in kept] == reasons
    assert [row["sequence"] for row in kept] == [n % 2 for n in range(ROWS)]
    assert [row["metrics"][3] for row in kept] == [None if n % 2 else n for n in range(ROWS)]
    assert {row["metrics"][1] for row in kept} == {None}
