"""A database made to be replayed into, and never one that anything else was stored in."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from cloud.adapters.postgres.pool import Connection, connect, translated
from cloud.adapters.postgres.sql import statements
from cloud.adapters.postgres.store import PostgresStore, PostgresTransaction, blamed
from cloud.core.errors import OperatorError
from wire.ids import HubId

_SQL: Final = statements(__file__)
SENSORS_AT_ONCE: Final = 10_000


@asynccontextmanager
async def named(option: str, url: str) -> AsyncIterator[Connection]:
    """Lend a connection to a store somebody named on the command line.

    Raises:
        OperatorError: It is no such store, or not for us.
        InfrastructureError: It is away.
    """
    try:
        async with connect(url) as connection:
            yield connection
    except (
        asyncpg.InvalidCatalogNameError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.UndefinedTableError,
    ) as exc:
        hint = "createdb for a new one; the others must be stores of this platform"
        raise OperatorError(f"{option}: {exc}", hint=hint) from exc


async def take_possession(connection: Connection) -> None:
    """Mark a database as a scratch store, unless it is one. Idempotent.

    Raises:
        OperatorError: Something is stored in it that no replay has begun with.
        InfrastructureError: It is away.
    """
    with translated():
        async with connection.transaction():
            await connection.execute(_SQL["alone"])
            if await connection.fetchval(_SQL["marked"]):
                return
            migrated = await connection.fetchval(_SQL["migrated"])
            if migrated and await connection.fetchval(_SQL["used"]):
                raise OperatorError(
                    "--into names a store in use: a replay writes into an empty database only",
                    hint="createdb headgate_scratch, and name that one",
                )
            await connection.execute(_SQL["create_mark"])
            await connection.execute(_SQL["mark"])


async def adopt_speakers(original: Connection, scratch: Connection) -> int:
    """Register every sensor the original knows under the hub it has there; return how many.

    What the scratch store has registered already stays. Idempotent.

    Raises:
        InfrastructureError: One of them is away.
    """
    adopted, last = 0, -1
    while True:
        with translated():
            rows = await original.fetch(_SQL["speakers_from"], last, SENSORS_AT_ONCE)
            if not rows:
                return adopted
            columns = [list(column) for column in zip(*rows, strict=True)]
            await scratch.execute(_SQL["adopt"], *columns)
        adopted, last = adopted + len(rows), rows[-1]["sensor_id"]


class ScratchStore(PostgresStore):
    """A store that takes lives as fast as they are read: days of them pass within minutes."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["ScratchTransaction"]:
        """See ``Store``."""
        with translated(), blamed():
            async with self._pool.acquire() as connection, connection.transaction():
                yield ScratchTransaction(connection)


class ScratchTransaction(PostgresTransaction):
    """See ``Transaction``."""

    async def opened(self, hub_ids: Collection[HubId]) -> dict[HubId, int]:
        """See ``Transaction``: none, since this hour is not the hubs' hour."""
        return {}
