"""What is told to end ends, even when the answer it waited for, or a failure, comes as well."""

import asyncio
from typing import cast

import aiomqtt

from firmware_sim.adapters.mqtt import MqttSession
from firmware_sim.core.pending import ResendPolicy
from firmware_sim.sensor import Connection
from tests.support.wait import until
from tests.support.water import MemoryHub, MemoryLedger, some_readings
from wire.clock import SystemClock
from wire.errors import InfrastructureError


class LateClient:
    """Waits for a PUBACK as aiomqtt does."""

    def __init__(self) -> None:
        self.puback: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = False

    async def publish(self, topic: str, body: bytes, qos: int, timeout: float) -> None:
        self.waiting = True
        await asyncio.wait_for(self.puback, timeout)


async def test_a_publish_cancelled_as_its_puback_comes_is_cancelled() -> None:
    client = LateClient()
    session = MqttSession(cast("aiomqtt.Client", client))
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(session.publish("t", b""))
        await until(lambda: client.waiting)
        client.puback.set_result(None)
        publishing.cancel()
    assert publishing.cancelled()


class BreakingHub(MemoryHub):
    """Its connection breaks at the very moment somebody gives up on it."""

    async def publish(self, topic: str, body: bytes) -> None:
        self.messages += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise InfrastructureError("broke") from None


async def test_a_connection_that_breaks_while_it_is_ended_does_not_come_back() -> None:
    hub = BreakingHub()
    connection = Connection(hub, SystemClock(), MemoryLedger(), ResendPolicy())
    async with asyncio.TaskGroup() as group:
        talking = group.create_task(connection.run())
        connection.say(some_readings([1], [1_000]))
        await until(lambda: hub.messages)
        connection.end()
        talking.cancel()
        await until(talking.done)
    assert hub.sessions == 1
