"""The refresh stage's process."""

from typing import Final

import structlog

from cloud.adapters.mqtt import Broker, connected, owned_by
from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.refresh import Register
from cloud.refresh.service import FILTERS, Refresh
from cloud.settings import StageSettings
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.topics import Lane, lane_topic

_RETRY_MS: Final = 1_000
_log = structlog.get_logger(__name__)


async def run_refresh(settings: StageSettings) -> None:
    """Serve until cancelled; broker and database may come and go."""
    clock = SystemClock()
    broker = Broker.read(settings.broker_url, settings.broker_token_file)
    name = f"refresh-{settings.share.index}"
    ours = owned_by(settings.share.owns)
    medium = lane_topic(Lane.MEDIUM)
    while True:
        try:
            async with (
                pool(settings.database_url, connections_max=2, name=f"headgate-{name}") as opened,
                connected(
                    broker,
                    name,
                    FILTERS,
                    clock,
                    keeps=lambda topic: topic == medium or ours(topic),
                ) as inbox,
            ):
                _log.info("serving", stage=name)
                await Refresh(inbox, Register(opened)).run()
        except InfrastructureError as exc:
            _log.warning("neighbour away", why=str(exc))
        await clock.sleep_ms(_RETRY_MS)
