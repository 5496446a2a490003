"""A flush of nothing but refused rows keeps them all and never holds its process up for long."""

import asyncio
from collections import Counter

import asyncpg
import numpy as np

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.store import KEPT_AT_ONCE, PostgresStore, kept_records
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


KEYS = [a_key(0), a_key(1)]
REASONS = [f"reason {n % 3}" for n in range(ROWS)]


async def test_making_records_gives_others_their_turn() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    made: Counter[int] = Counter()
    async with asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count_turns())
        async for _ in kept_records(wild(ROWS), KEYS, REASONS):
            made[turns] += 1
        counting.cancel()
    assert max(made.values()) == KEPT_AT_ONCE
    assert sum(made.values()) == ROWS


async def test_every_row_put_aside_is_kept_with_its_key_values_and_reason(
    database_url: str,
) -> None:
    async with (
        pool(database_url) as connections,
        PostgresStore(connections, STORE).transaction() as transaction,
    ):
        await transaction.add_refused(wild(ROWS), REASONS, KEYS)
    connection = await asyncpg.connect(database_url)
    kept = await connection.fetch("select * from refused_readings order by sensor_id")
    await connection.close()
    assert [row["reason"] for row in kept] == REASONS
    assert [row["sequence"] for row in kept] == [n % 2 for n in range(ROWS)]
    assert [row["metrics"][3] for row in kept] == [None if n % 2 else n for n in range(ROWS)]
    assert {row["metrics"][1] for row in kept} == {None}
