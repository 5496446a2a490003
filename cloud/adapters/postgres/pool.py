"""Connections, and the one place where asyncpg's failures become ours."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias

import asyncpg

from cloud.tasks import heed_cancellation
from wire.errors import InfrastructureError

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Session: TypeAlias = "Connection | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

CONNECT_TIMEOUT_S: Final = 10.0
GOODBYE_WITHIN_S: Final = 2.0
COMMAND_TIMEOUT_S: Final = 120.0
_OPTIONS: Final[dict[str, Any]] = {
    "timeout": CONNECT_TIMEOUT_S,
    "command_timeout": COMMAND_TIMEOUT_S,
    "server_settings": {"application_name": "headgate", "timezone": "UTC"},
}
# Classes of SQLSTATE that say "not just now": connection, transaction rollback, resources,
# operator intervention, system, and what a server that is starting or stopping answers.
_TRANSIENT: Final = ("08", "40", "53", "55", "57", "58")


@contextmanager
def translated() -> Iterator[None]:
    """Raise what only the neighbour can be blamed for as our own.

    Raises:
        InfrastructureError: The database could not serve us just now; worth another try.
    """
    try:
        yield
    except asyncpg.PostgresError as exc:
        if str(exc.sqlstate)[:2] not in _TRANSIENT:
            raise
        heed_cancellation()
        raise InfrastructureError(f"database: {exc}") from exc
    # asyncpg reports its own confusion when a connection breaks in the middle of a rollback.
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
        heed_cancellation()
        raise InfrastructureError(f"database: {exc!r}") from exc
    heed_cancellation()


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    """Lend one connection.

    Raises:
        InfrastructureError: The database cannot be reached.
    """
    with translated():
        connection = await asyncpg.connect(url, **_OPTIONS)
    try:
        yield connection
    finally:
        await _close(connection)


@asynccontextmanager
async def pool(
    url: str, *, connections_max: int = 4, name: str = "headgate"
) -> AsyncIterator[Pool]:
    """Lend a pool; it opens connections as they are needed and replaces broken ones.

    ``name``, such as ``headgate-ingest-0``, is how ``/api/status`` knows that a stage is at work;
    so no connection is closed for idleness.

    Raises:
        InfrastructureError: The database cannot be reached.
    """
    with translated():
        opened = await asyncpg.create_pool(
            url,
            min_size=0,  # a floor is restored in the background, with a traceback a try
            max_size=connections_max,
            max_inactive_connection_lifetime=0,
            **{**_OPTIONS, "server_settings": {"application_name": name, "timezone": "UTC"}},
        )
    try:
        with translated():
            await opened.release(await opened.acquire())
        yield opened
    finally:
        await _close(opened)


async def _close(opened: "Connection | Pool") -> None:
    """Say goodbye, for so long; what is under way just then ends in order."""
    try:
        async with asyncio.timeout(GOODBYE_WITHIN_S):
            await opened.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        opened.terminate()
