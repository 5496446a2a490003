"""Alerts, read for people."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from cloud.adapters.postgres.pool import Pool
from cloud.adapters.postgres.read_pool import fetch
from cloud.adapters.postgres.sql import statements
from cloud.core.views import Row

_SQL: Final = statements(__file__)


class Alerts:
    """See ``cloud.read.ports.AlertReader``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def page(
        self, region: str | None, *, active: bool, before: int, limit: int
    ) -> Sequence[Row]:
        """See ``AlertReader``."""
        return await self._rows("active" if active else "all", region, before, limit)

    async def these(self, alert_ids: Collection[int]) -> Sequence[Row]:
        """See ``AlertReader``."""
        return await self._rows("these", list(alert_ids))

    async def changed(self, since: datetime, limit: int) -> Sequence[Row]:
        """See ``AlertReader``."""
        return await self._rows("changed", since, limit)

    async def _rows(self, end: str, *arguments: object) -> list[Row]:
        rows = await fetch(self._pool, f"{_SQL['select']}\n{_SQL[end]}", *arguments)
        return [{**row, "explanation": json.loads(row["explanation"])} for row in rows]
