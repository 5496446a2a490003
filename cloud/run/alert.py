"""The alert stage's process."""

import asyncio
from typing import Final

import structlog

from cloud.adapters.mqtt import Broker, connected
from cloud.adapters.postgres.alert import AlertTables
from cloud.adapters.postgres.pool import pool
from cloud.alert.service import Alerts
from cloud.alert.stage import Stage
from cloud.settings import StageSettings
from wire import topics
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.topics import Lane

RECONNECT_MS: Final = 500
_log = structlog.get_logger(__name__)


async def run_alert(settings: StageSettings) -> None:
    """Settle findings until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock = SystemClock()
    name = f"headgate-alert-{settings.share.index}"
    async with pool(settings.database_url, connections_max=2, name=name) as opened:
        stage = Stage(Alerts(AlertTables(opened), clock), clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.settle(), name="settle")
            group.create_task(_listen(settings, stage, clock), name="listen")


async def _listen(settings: StageSettings, stage: Stage, clock: SystemClock) -> None:
    broker = Broker.read(settings.broker_url, settings.broker_token_file)
    client_id = f"alert-{settings.share.index}"
    filters = (topics.lane_topic(Lane.HIGH),)
    while True:
        try:
            async with connected(broker, client_id, filters, clock) as mqtt:
                _log.info("connected", client_id=client_id)
                await stage.listen(mqtt)
        except InfrastructureError as exc:
            _log.warning("broker away", why=str(exc))
        await clock.sleep_ms(RECONNECT_MS)
