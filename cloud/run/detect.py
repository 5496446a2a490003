"""Detection's process."""

import asyncio
from typing import Final

import structlog

from cloud.adapters.mqtt import Broker, Mqtt, connected, owned_by
from cloud.adapters.postgres.detect import DetectTables
from cloud.adapters.postgres.pool import pool
from cloud.detect.service import Detect
from cloud.detect.stage import Stage
from cloud.detect.sweep import Sweep
from cloud.settings import StageSettings
from wire import topics
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.topics import Channel, Lane

RECONNECT_MS: Final = 500
_FILTERS: Final = (topics.every_hub(Channel.URGENT), topics.every_hub(Channel.BATCH))
_log = structlog.get_logger(__name__)


class Line:
    """The lanes while there is a broker; without one nobody can be woken."""

    def __init__(self) -> None:
        """Begin without a broker."""
        self.broker: Mqtt | None = None

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``."""
        if self.broker is None:
            raise InfrastructureError("broker: not connected")
        await self.broker.send(lane, body)


async def run_detect(settings: StageSettings) -> None:
    """Detect until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock, line = SystemClock(), Line()
    name = f"headgate-detect-{settings.share.index}"
    async with pool(settings.database_url, name=name) as opened:
        store = DetectTables(opened)
        detect = Detect(store, line, clock, settings.share.owns)
        stage = Stage(detect, Sweep(detect, store), clock)
        await detect.refresh()
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.tick(), name="tick")
            group.create_task(_read(settings, stage, line, clock), name="read")


async def _read(settings: StageSettings, stage: Stage, line: Line, clock: SystemClock) -> None:
    broker = Broker.read(settings.broker_url, settings.broker_token_file)
    client_id = f"detect-{settings.share.index}"
    keeps = owned_by(settings.share.owns)
    while True:
        try:
            async with connected(broker, client_id, _FILTERS, clock, keeps=keeps) as mqtt:
                line.broker = mqtt
                _log.info("connected", client_id=client_id)
                await stage.read(mqtt)
        except InfrastructureError as exc:
            _log.warning("broker away", why=str(exc))
        finally:
            line.broker = None
        await clock.sleep_ms(RECONNECT_MS)
