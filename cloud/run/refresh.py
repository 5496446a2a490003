"""The refresh stage's process."""

from random import Random

import structlog

from cloud.adapters.mqtt import owned_by
from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.refresh import Register
from cloud.refresh.service import Refresh
from cloud.run.broker import REFRESH, connects
from cloud.run.links import beat, keep_serving
from cloud.settings import StageSettings
from cloud.steps import Steps
from cloud.tasks import together
from wire.clock import SystemClock
from wire.topics import Lane, lane_topic

_log = structlog.get_logger(__name__)


async def run_refresh(settings: StageSettings) -> None:
    """Serve until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock = SystemClock()
    name = f"refresh-{settings.share.index}"
    ours = owned_by(settings.share.owns)
    medium = lane_topic(Lane.MEDIUM)
    steps = Steps(clock)

    def keeps(topic: str) -> bool:
        return topic == medium or ours(topic)

    connected = connects(settings, name, REFRESH, clock, keeps)
    async with pool(settings.database_url, connections_max=2, name=f"headgate-{name}") as opened:

        async def serve() -> None:
            async with connected() as inbox:
                _log.info("serving", stage=name)
                await Refresh(inbox, Register(opened), steps).run()

        await together(
            keep_serving(name, serve, clock, Random().random), beat(opened, clock, steps)
        )
