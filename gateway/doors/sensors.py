"""The door for sensors that publish to the cluster themselves: ``sensors/+/data`` by MQTT.

What a sensor says stays in the cluster's queue until its readings are safe; then the sensor is
told which instants are. What cannot be read, or comes too fast, is counted and let go: nobody who
publishes by MQTT can be answered, but by its status.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.core.buckets import LATE_AFTER_MS, LATE_BURST
from gateway.core.readings import fault, stamped
from gateway.doors.http_courier import Courier, Fate
from gateway.doors.http_turnstile import Turnstile
from gateway.ports import DoorMeter, LinkLostError, Said, SensorInbox, SensorLink
from wire.clock import Clock
from wire.errors import MalformedMessageError
from wire.ids import SensorId, UnixMs
from wire.limits import SENSOR_BURST
from wire.reading import NO_TIME, SensorMessage, StatusMessage, encode_status, parse_sensor_message
from wire.topics import parse_sensor_data

TRIES: Final = 3
SAFE_WITHIN_S: Final = 30.0
AGAIN_AFTER_MS: Final = 250
_NOTHING_BELOW: Final = UnixMs(0)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SensorsDoor:
    """Reads, judges and hands over what sensors publish.

    Attributes:
        inbox: Where they publish.
        courier: Takes what is let in.
        turnstile: Keeps sensors to their rate as they come.
        late: Keeps them to it over an hour, for what was said long before it came.
        clock: Arrival.
        meter: Counts, by HTTP's numbers.
    """

    inbox: SensorInbox
    courier: Courier
    turnstile: Turnstile
    late: Turnstile
    clock: Clock
    meter: DoorMeter

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self._one_link()
            except* LinkLostError as lost:
                log.warning("sensors lost", why=str(lost.exceptions[0]))
            await self.clock.sleep_ms(AGAIN_AFTER_MS)

    async def _one_link(self) -> None:
        async with self.inbox.open_sensors() as link, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._suspects(link), name="suspects")
            log.info("sensors open")
            async for said in link.messages():
                tasks.create_task(self._take(link, said), name="message")

    async def _suspects(self, link: SensorLink) -> None:
        """Take what doors died with one by one; what goes on killing them is let go unread."""
        async for said in link.suspects():
            if said.lent_before < TRIES:
                await self._take(link, said)
            else:
                digest = hashlib.sha256(said.body).hexdigest()
                log.error("given up", topic=said.topic, tries=said.lent_before, digest=digest)
                self.meter.answered("500")
                await said.ack()

    async def _take(self, link: SensorLink, said: Said) -> None:
        arrived_ms = self.clock.now_ms()
        try:
            sensor_id = parse_sensor_data(said.topic)
            message = parse_sensor_message(said.body, sensor_id)
        except MalformedMessageError:
            await self._let_go(said, "400")
            return
        late = _is_late(message, arrived_ms)
        if fault(message, arrived_ms, LATE_BURST if late else SENSOR_BURST) is not None:
            await self._let_go(said, "422")
        elif await (self.late if late else self.turnstile).take(message.sensor_ids):
            await link.tell(sensor_id, encode_status(StatusMessage(_NOTHING_BELOW, True)))
            await self._let_go(said, "429")
        else:
            await self._keep(link, said, sensor_id, message, arrived_ms)

    async def _keep(
        self,
        link: SensorLink,
        said: Said,
        sensor_id: SensorId,
        message: SensorMessage,
        arrived_ms: UnixMs,
    ) -> None:
        readings = stamped(message, arrived_ms)
        while await self.courier.deliver(readings, SAFE_WITHIN_S) is not Fate.SAFE:
            await self.clock.sleep_ms(AGAIN_AFTER_MS)
        named = tuple(UnixMs(at) for at in message.observed_at_ms.tolist() if at != NO_TIME)
        await link.tell(sensor_id, encode_status(StatusMessage(_NOTHING_BELOW, False, named)))
        self.meter.admitted(message)
        await self._let_go(said, "202")

    async def _let_go(self, said: Said, answer: str) -> None:
        await said.ack()
        self.meter.answered(answer)


def _is_late(message: SensorMessage, arrived_ms: UnixMs) -> bool:
    """Return whether all of it was said, by the sensor's own clock, long before it came."""
    observed = message.observed_at_ms
    return bool((observed != NO_TIME).all()) and int(observed.max()) < arrived_ms - LATE_AFTER_MS
