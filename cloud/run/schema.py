"""The schema's two commands."""

from uuid import UUID

from cloud.adapters.postgres.pool import connect
from cloud.adapters.postgres.schema import Schema
from cloud.migrate import migrate, read
from cloud.settings import Settings


async def run_migrate(settings: Settings) -> None:
    """Bring the database up to date. Idempotent.

    Raises:
        HeadgateError: The database is away, or an applied file has changed.
    """
    async with connect(settings.database_url) as connection:
        await migrate(Schema(connection), read())


async def run_store_id(settings: Settings) -> UUID:
    """Return the name hubs pin.

    Raises:
        InfrastructureError: The database is away.
    """
    async with connect(settings.database_url) as connection:
        return await Schema(connection).store_id()
