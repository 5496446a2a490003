"""Dead letters in PostgreSQL: decided in the store's own transactions, read for people."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from cloud.adapters.postgres.pool import Pool, Session, translated
from cloud.adapters.postgres.read_pool import fetch
from cloud.adapters.postgres.sql import statements
from cloud.adapters.postgres.store import PostgresStore, PostgresTransaction, blamed
from cloud.core.dead_letters import Letter, LetterKind, State
from cloud.core.views import Row
from wire.ids import BatchKey, UnixMs

_SQL: Final = statements(__file__)


class PostgresLetters(PostgresStore):
    """See ``cloud.ingest.replay.LetterStore``."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresLetterTransaction"]:
        """See ``LetterStore``."""
        with translated(), blamed():
            async with self._pool.acquire() as connection, connection.transaction():
                yield PostgresLetterTransaction(connection)

    async def letter(self, letter_id: int) -> Letter | None:
        """See ``LetterStore``."""
        with translated():
            async with self._pool.acquire() as connection:
                return await _letter(connection, letter_id)


class PostgresLetterTransaction(PostgresTransaction):
    """See ``cloud.ingest.replay.LetterTransaction``."""

    async def letter(self, letter_id: int) -> Letter | None:
        """See ``LetterTransaction``. Locked first: what is read is what the last one left."""
        await self._connection.execute(_SQL["lock_letter"], letter_id)
        return await _letter(self._connection, letter_id)

    async def reopen(self, key: BatchKey) -> None:
        """See ``LetterTransaction``."""
        if await self._connection.execute(_SQL["reopen"], *key) == "UPDATE 1":
            await self._connection.execute(_SQL["unlog"], *key)

    async def fail(self, letter_id: int, reason: str) -> None:
        """See ``LetterTransaction``."""
        await self._connection.execute(_SQL["fail"], letter_id, reason)

    async def decide(self, letter_id: int, state: State, by: str) -> None:
        """See ``LetterTransaction``."""
        await self._connection.execute(_SQL["decide"], letter_id, state, by)


class LetterReads:
    """See ``cloud.read.dead_letters.LetterReader``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def page(
        self, hub_id: str | None, reason: str, state: str | None, before: int, limit: int
    ) -> Sequence[Row]:
        """See ``LetterReader``."""
        return await fetch(self._pool, _SQL["page"], hub_id, reason, state, before, limit)

    async def one(self, letter_id: int) -> Row | None:
        """See ``LetterReader``."""
        found = await fetch(self._pool, _SQL["one"], letter_id)
        return found[0] if found else None


async def _letter(connection: Session, letter_id: int) -> Letter | None:
    row: Any = await connection.fetchrow(_SQL["letter"], letter_id)
    if row is None:
        return None
    return Letter(
        row["dead_letter_id"],
        BatchKey(row["hub_id"], row["epoch"], row["sequence"]),
        row["crc"],
        LetterKind(row["kind"]),
        State(row["state"]),
        row["reason"],
        row["topic"],
        row["body"],
        UnixMs(round(row["first_at"].timestamp() * 1_000)),
    )
