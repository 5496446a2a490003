"""The sensors' broker somewhere else: any MQTT 3.1.1 broker, subscribed to by URL.

Such a broker cannot be made to wait: the client library acknowledges as it reads. What finds the
queue full is thrown away and counted; a sensor that listens for its status sends it again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import structlog

from edge_agent.adapters.mqtt import Account, Connection, connect
from edge_agent.ports import Accept, LinkLostError
from wire.clock import Clock
from wire.ids import SensorId
from wire.limits import MIB
from wire.topics import SENSOR_DATA_FILTER, sensor_status

QUEUED_MESSAGES_MAX: Final = 10_000
QUEUED_BYTES_MAX: Final = 2 * MIB
AGAIN_AFTER_MS: Final = 1_000

log = structlog.get_logger()


class BrokerSubscriber:
    """``SensorSide`` on a broker that others run."""

    def __init__(self, account: Account, clock: Clock, counts: Counter[str]) -> None:
        self._account = account
        self._clock = clock
        self._counts = counts
        self._connection: Connection | None = None

    async def run(self, accept: Accept) -> None:
        """See ``SensorSide``."""
        while True:
            try:
                await self._subscribed(accept)
            except LinkLostError as exc:
                self._counts["sensor_links_lost"] += 1
                log.warning("sensors' broker lost", broker=repr(self._account), why=str(exc))
            await self._clock.sleep_ms(AGAIN_AFTER_MS)

    async def tell(self, statuses: Iterable[tuple[SensorId, bytes]]) -> None:
        """See ``SensorSide``."""
        connection = self._connection
        if connection is None:
            return
        try:
            for sensor_id, body in statuses:
                await connection.publish(sensor_status(sensor_id), body, qos=0)
        except LinkLostError as exc:
            log.warning("statuses not sent", why=str(exc))

    async def _subscribed(self, accept: Accept) -> None:
        queue = partial(_BytesQueue, self._counts)
        async with connect(
            self._account, queued_max=QUEUED_MESSAGES_MAX, queue=queue
        ) as connection:
            await connection.subscribe(SENSOR_DATA_FILTER)
            log.info("subscribed to sensors", broker=repr(self._account))
            self._connection = connection
            try:
                async for topic, body in connection.messages():
                    await accept(topic, body)
            finally:
                self._connection = None


class _BytesQueue(asyncio.Queue[Any]):
    """A queue that is also full by bytes."""

    def __init__(self, counts: Counter[str], maxsize: int) -> None:
        super().__init__(maxsize)
        self._counts = counts
        self._bytes = 0

    def put_nowait(self, item: Any) -> None:
        if self.full() or self._bytes + len(item.payload) > QUEUED_BYTES_MAX:
            self._counts["arrivals_dropped"] += 1
            raise asyncio.QueueFull
        super().put_nowait(item)
        self._bytes += len(item.payload)

    def get_nowait(self) -> Any:
        item = super().get_nowait()
        self._bytes -= len(item.payload)
        return item
