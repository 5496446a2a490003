"""Detection's process."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from random import Random
from typing import Any, Final, NoReturn

import structlog

from cloud.adapters.mqtt import owned_by
from cloud.adapters.postgres.detect import DetectTables
from cloud.adapters.postgres.pool import pool
from cloud.detect.service import Detect
from cloud.detect.stage import Stage
from cloud.detect.sweep import Sweep
from cloud.ports import Lanes
from cloud.run.broker import DETECT, connects
from cloud.run.links import beat, keep_serving
from cloud.settings import StageSettings
from cloud.tasks import together
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.topics import Channel, Lane

SEND_WITHIN_S: Final = 1.0
_log = structlog.get_logger(__name__)


class Line:
    """The lanes while there is a broker; without one nobody can be woken."""

    def __init__(self) -> None:
        """Begin without a broker."""
        self._broker: Lanes | None = None

    @contextmanager
    def through(self, broker: Lanes) -> Iterator[None]:
        """Lead to ``broker`` while the block lasts."""
        self._broker = broker
        try:
            yield
        finally:
            self._broker = None

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``. Detection waits for nobody to wake up for long."""
        if self._broker is None:
            raise InfrastructureError("broker: not connected")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self._broker.send(lane, body)
        except TimeoutError as exc:
            raise InfrastructureError("broker: no answer") from exc


async def run_detect(settings: StageSettings) -> None:
    """Detect until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock, line, share = SystemClock(), Line(), settings.share
    name = f"headgate-detect-{share.index}"
    async with pool(settings.database_url, name=name) as opened:
        store = DetectTables(opened)
        detect = Detect(store, line, clock, share.owns)
        stage = Stage(detect, Sweep(detect, store), clock)

        async def read(channel: Channel, client_id: str) -> None:
            connected = connects(settings, client_id, DETECT[channel], clock, owned_by(share.owns))
            async with connected() as broker:
                _log.info("connected", client_id=client_id)
                with line.through(broker) if channel is Channel.URGENT else nullcontext():
                    await stage.read(broker)

        def reader(number: int, channel: Channel) -> Coroutine[Any, Any, NoReturn]:
            client_id = f"detect-{number * share.count + share.index}"
            serve = partial(read, channel, client_id)
            return keep_serving(client_id, serve, clock, Random().random)

        await detect.refresh()
        # What is urgent has a connection of its own: nothing routine stands before it.
        await together(
            stage.tick(),
            reader(0, Channel.BATCH),
            reader(1, Channel.URGENT),
            beat(opened, clock, stage.steps),
        )
