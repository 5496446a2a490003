"""Trials in PostgreSQL: committed before they begin."""

from typing import Final

from cloud.adapters.postgres.pool import Pool, translated
from cloud.adapters.postgres.sql import statements

_SQL: Final = statements(__file__)


class PostgresTrials:
    """See ``cloud.ports.Trials``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def begin(self, digest: bytes) -> int:
        """See ``Trials``. Forgets what is older than any hub's next copy."""
        with translated():
            await self._pool.execute(_SQL["forget"])
            return int(await self._pool.fetchval(_SQL["begin"], digest))

    async def spare(self, digest: bytes) -> None:
        """See ``Trials``."""
        with translated():
            await self._pool.execute(_SQL["spare"], digest)
