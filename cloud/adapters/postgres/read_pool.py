"""The read side's connections: few, each statement short, waiting for one bounded too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from cloud.adapters.postgres.pool import CONNECT_TIMEOUT_S, Pool, translated

STATEMENT_TIMEOUT_MS: Final = 5_000
ANSWER_TIMEOUT_S: Final = 8.0  # waiting for a connection included
PORTIONS_TIMEOUT_S: Final = 30.0  # a whole day at 1 Hz, written on a busy machine
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 5_000


@asynccontextmanager
async def read_pool(url: str, *, name: str, connections_max: int = 8) -> AsyncIterator[Pool]:
    """Lend a pool that opens connections as they are needed.

    It opens even while the database is away: whoever asks then gets an InfrastructureError, and
    an answer once it is back.
    """
    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=STATEMENT_TIMEOUT_MS / 1_000 + 1,
        server_settings={
            "application_name": name,
            "timezone": "UTC",
            "default_transaction_read_only": "on",
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        },
    )
    await opened
    try:
        yield opened
    finally:
        opened.terminate()


async def fetch(pool: Pool, statement: str, *arguments: object) -> list[Any]:
    """Return the rows of one statement, each a mapping and a sequence.

    Raises:
        InfrastructureError: The database is away, or did not answer in time.
    """
    with translated():
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await pool.fetch(statement, *arguments)


async def fetch_portions(
    pool: Pool, statement: str, *arguments: object, portion: int
) -> AsyncIterator[list[Any]]:
    """Yield the rows of one statement, planned and run once, ``portion`` at a time.

    Raises:
        InfrastructureError: The database is away, or did not answer in time.
    """
    with translated():
        async with (
            asyncio.timeout(PORTIONS_TIMEOUT_S),
            pool.acquire() as connection,
            connection.transaction(readonly=True),
        ):
            cursor = await connection.cursor(statement, *arguments)
            while rows := await cursor.fetch(portion):
                yield rows
