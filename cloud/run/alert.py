"""The alert stage's process."""

from random import Random

import structlog

from cloud.adapters.postgres.alert import AlertTables
from cloud.adapters.postgres.pool import pool
from cloud.alert.service import Alerts
from cloud.alert.stage import Stage
from cloud.run.broker import ALERT, connects
from cloud.run.links import beat, keep_serving
from cloud.settings import StageSettings
from cloud.tasks import together
from wire.clock import SystemClock

_log = structlog.get_logger(__name__)


async def run_alert(settings: StageSettings) -> None:
    """Settle findings until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock = SystemClock()
    name = f"alert-{settings.share.index}"
    connected = connects(settings, name, ALERT, clock)
    async with pool(settings.database_url, connections_max=2, name=f"headgate-{name}") as opened:
        stage = Stage(Alerts(AlertTables(opened), clock), clock)

        async def listen() -> None:
            async with connected() as inbox:
                _log.info("connected", client_id=name)
                await stage.listen(inbox)

        await together(
            stage.settle(),
            keep_serving(name, listen, clock, Random().random),
            beat(opened, clock, stage.steps),
        )
