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
            # What is urgent has a connection of its own: nothing routine stands before it.
            for number, channel in enumerate((Channel.BATCH, Channel.URGENT)):
                worker = number * settings.share.count + settings.share.index
                reading = _read(settings, stage, line, clock, channel, f"detect-{worker}")
                group.create_task(reading, name=f"read {channel}")


async def _read(
    settings: StageSettings,
    stage: Stage,
    line: Line,
    clock: SystemClock,
    channel: Channel,
    client_id: str,
) -> None:
    broker = Broker.read(settings.broker_url, settings.broker_token_file)
    filters = (topics.every_hub(channel),)
    keeps = owned_by(settings.share.owns)
    while True:
        try:
            async with connected(broker, client_id, filters, clock, keeps=keeps) as mqtt:
                if channel is Channel.URGENT:
                    line.broker = mqtt
                _log.info("connected", client_id=client_id)
                await stage.read(mqtt)
        except InfrastructureError as exc:
            _log.warning("broker away", why=str(exc))
        finally:
            if channel is Channel.URGENT:
                line.broker = None
        await clock.sleep_ms(RECONNECT_MS)
