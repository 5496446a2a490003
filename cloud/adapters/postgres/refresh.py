"""What hubs last said, in PostgreSQL."""

import json
from typing import Any, Final

from cloud.adapters.postgres.pool import Pool, translated
from cloud.adapters.postgres.sql import statements
from cloud.core.ledger import EPOCHS_PER_HUB_HOUR_MAX
from cloud.core.views import instant_of
from wire.control import Health
from wire.ids import HubId, Region

_SQL: Final = statements(__file__)


class Register:
    """See ``cloud.refresh.ports.HubRegister``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def born(self, region: Region, hub_id: HubId, health: Health) -> None:
        """See ``HubRegister``."""
        await self._note(region, hub_id, health, born=True)

    async def reported(self, region: Region, hub_id: HubId, health: Health) -> None:
        """See ``HubRegister``."""
        await self._note(region, hub_id, health, born=False)

    async def gone(self, region: Region, hub_id: HubId, health: Health) -> None:
        """See ``HubRegister``."""
        with translated():
            await self._pool.execute(_SQL["bury"], *_said(region, hub_id, health))

    async def _note(self, region: Region, hub_id: HubId, health: Health, *, born: bool) -> None:
        epochs = [epoch for epoch, _ in health.epochs]
        sequences = [next_sequence for _, next_sequence in health.epochs]
        at = instant_of(health.at_ms)
        with translated():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _SQL["announce"], hub_id, region, epochs, sequences, EPOCHS_PER_HUB_HOUR_MAX
                )
                await connection.execute(_SQL["report"], *_said(region, hub_id, health))
                if born:
                    await connection.execute(_SQL["bear"], hub_id, at, health.clock_trusted)


def _said(region: Region, hub_id: HubId, health: Health) -> tuple[Any, ...]:
    return (
        hub_id,
        region,
        health.version,
        health.clock_trusted,
        json.dumps(health.gauges),
        json.dumps({str(epoch): next_sequence for epoch, next_sequence in health.epochs}),
        instant_of(health.at_ms),
    )
