"""The schema's own record of what it has had, and the store's name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from cloud.adapters.postgres.pool import Connection, translated
from cloud.adapters.postgres.sql import statements

_SQL: Final = statements(__file__)


class Schema:
    """The schema of one database, over one connection."""

    def __init__(self, connection: Connection) -> None:
        """Take a connection nobody else uses meanwhile."""
        self._connection = connection

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep every other migration out; wait for one that runs."""
        with translated():
            await self._connection.execute(_SQL["lock_migrations"])
            await self._connection.execute(_SQL["create_migrations"])
        yield
        with translated():
            await self._connection.execute(_SQL["unlock_migrations"])

    async def applied(self) -> dict[int, str]:
        """Return number to SHA-256 of each migration the database has had."""
        with translated():
            return {
                row["number"]: row["sha256"]
                for row in await self._connection.fetch(_SQL["applied_migrations"])
            }

    async def apply(self, number: int, name: str, sha256: str, sql: str) -> None:
        """Run one migration and remember it, in one transaction."""
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(sql)
                await self._connection.execute(_SQL["record_migration"], number, name, sha256)

    async def store_id(self) -> UUID:
        """Return the store's name, which hubs pin."""
        with translated():
            row = await self._connection.fetchrow(_SQL["store_id"])
        assert row is not None, "0001 writes the one row"
        return UUID(bytes=row["store_id"].bytes)
