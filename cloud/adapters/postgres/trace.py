"""What the store knows of one sensor at one instant."""

from datetime import datetime
from typing import Final

from cloud.adapters.postgres.gaps import Gaps
from cloud.adapters.postgres.pool import Pool
from cloud.adapters.postgres.read_pool import fetch
from cloud.adapters.postgres.sql import statements
from cloud.core.trace import WINDOW_MAX, Facts
from cloud.core.views import QUALITY_AT, SAMPLES_AT, Reading
from wire.ids import Epoch, HubId, SensorId
from wire.metric import COLUMNS
from wire.quality import Quality

_SQL: Final = {
    name: text.replace("{metrics}", ", ".join(COLUMNS))
    for name, text in statements(__file__).items()
}
_HOLES_MAX: Final = 20


class Tracer:
    """Reads the facts of a trace."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def facts(self, sensor_id: SensorId, first: datetime, last: datetime) -> Facts:
        """Return what is known of a sensor within ``[first, last]``.

        Raises:
            InfrastructureError: The database is away.
        """
        pool = self._pool
        sensors = await fetch(pool, _SQL["sensor"], sensor_id)
        row = await self._row(sensor_id, first, last)
        # A row of a window is dated by its first reading: that is what its batch spans.
        around = (row[0], row[0]) if row is not None else (first, last)
        marked = (min(first, around[0]), last)
        hub_id = sensors[0]["hub_id"] if sensors else None
        return Facts(
            sensor=dict(sensors[0]) if sensors else None,
            row=row,
            evidence=row is not None
            and bool((await fetch(pool, _SQL["evidence"], sensor_id, row[0]))[0][0]),
            batches=await fetch(pool, _SQL["batches"], hub_id, *around) if hub_id else [],
            refused=await fetch(pool, _SQL["refused"], sensor_id, *marked),
            conflicts=await fetch(pool, _SQL["conflicts"], sensor_id, *marked),
            dead=await fetch(pool, _SQL["dead"], hub_id, first) if hub_id else [],
            findings=await fetch(pool, _SQL["findings"], sensor_id, *marked),
            holes=await Gaps(pool).holes(HubId(hub_id), (HubId(""), Epoch(-1), -1), _HOLES_MAX)
            if hub_id
            else [],
        )

    async def _row(self, sensor_id: SensorId, first: datetime, last: datetime) -> Reading | None:
        """Return the row of that instant, or of the window that covers it."""
        rows = await fetch(self._pool, _SQL["row"], sensor_id, last, first - WINDOW_MAX)
        if not rows or rows[0][0] >= first:
            return rows[0] if rows else None
        stands_for_more = rows[0][SAMPLES_AT] > 1 or rows[0][QUALITY_AT] & Quality.SUMMARY
        return rows[0] if stands_for_more else None
