"""Readings, sites and workers, read by key."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cloud.adapters.postgres.pool import Pool
from cloud.adapters.postgres.read_pool import fetch, fetch_portions
from cloud.adapters.postgres.sql import statements
from cloud.core.views import Reading
from wire.ids import SensorId
from wire.metric import COLUMNS

_SQL: Final = {
    name: text.replace("{metrics}", ", ".join(COLUMNS))
    for name, text in statements(__file__).items()
}
READINGS_PER_PORTION: Final = 1_000  # written between two breaths of the event loop


class Reader:
    """See ``cloud.read.ports.ReadingReader`` and ``cloud.ports.Overview``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def latest(self, sensor_id: SensorId) -> Reading | None:
        """See ``ReadingReader``."""
        rows = await self._fetch("latest", sensor_id)
        return rows[0] if rows else None

    async def readings(
        self, sensor_id: SensorId, window: tuple[datetime, datetime], limit: int
    ) -> AsyncIterator[Sequence[Reading]]:
        """See ``ReadingReader``."""
        portions = fetch_portions(
            self._pool, _SQL["readings"], sensor_id, *window, limit, portion=READINGS_PER_PORTION
        )
        async for rows in portions:
            yield rows

    async def knows(self, sensor_id: SensorId) -> bool:
        """See ``ReadingReader``."""
        return bool((await self._fetch("knows", sensor_id))[0][0])

    async def sites(self, after: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """See ``Overview``."""
        return await self._fetch("sites", after, limit)

    async def ping(self) -> None:
        """See ``Overview``."""
        await self._fetch("ping")

    async def workers(self) -> Mapping[str, float]:
        """See ``Overview``."""
        return {row["name"]: row["silent_s"] for row in await self._fetch("workers")}

    async def figures(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """See ``Overview``."""
        rows = await self._fetch("figures")
        return [(row["name"], json.loads(row["labels"]), row["value"]) for row in rows]

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        return await fetch(self._pool, _SQL[name], *arguments)
