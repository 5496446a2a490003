"""What is told to end ends, even when an answer, or a failure, comes at the same instant."""

import asyncio
import gc
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, cast

import aiomqtt
import pytest

from edge_agent.adapters.mqtt import Account, Connection, connect
from edge_agent.adapters.subscriber import BrokerSubscriber
from edge_agent.ports import LinkLostError
from tests.support.awkward import Mood, awkward
from tests.support.wait import until
from wire.clock import SystemClock
from wire.ids import SensorId
from wire.topics import sensor_data

STEPS_MAX = 160

# A connect given up half way: the library leaves its socket to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Leave no such socket to the next test."""
    yield
    gc.collect()


class LateClient:
    """Waits for a PUBACK as aiomqtt does."""

    def __init__(self) -> None:
        self.puback: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = False

    async def publish(self, topic: str, body: bytes, qos: int, retain: bool) -> None:
        self.waiting = True
        await asyncio.wait_for(self.puback, 10)


async def test_a_publish_cancelled_as_its_puback_comes_is_cancelled() -> None:
    client = LateClient()
    connection = Connection(cast("aiomqtt.Client", client))
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(connection.publish("t", b""))
        await until(lambda: client.waiting)
        client.puback.set_result(None)
        publishing.cancel()
    assert publishing.cancelled()


@pytest.mark.parametrize("mood", [Mood.EAGER, Mood.FICKLE])
async def test_an_uplink_ends_at_whichever_step_it_is_told_to(mood: Mood) -> None:
    async with awkward(mood) as broker:
        account = Account("127.0.0.1", broker.port, "hub-1")
        for steps in range(0, STEPS_MAX, 3):
            await _ends(_publish_for_ever(account), steps)
    assert broker.acknowledged


@pytest.mark.parametrize("mood", [Mood.EAGER, Mood.FICKLE])
async def test_a_subscriber_ends_at_whichever_step_it_is_told_to(mood: Mood) -> None:
    heard: Counter[str] = Counter()

    async def accept(topic: str, body: bytes) -> int:
        heard[topic] += 1
        return 1

    async with awkward(mood, (sensor_data(SensorId(7)), b"{}")) as broker:
        account = Account("127.0.0.1", broker.port, "hub-1-sensors")
        for steps in range(0, STEPS_MAX, 5):
            subscriber = BrokerSubscriber(account, SystemClock(), Counter())
            await _ends(subscriber.run(accept), steps)


async def _publish_for_ever(account: Account) -> None:
    """Fail in a group and come back, as ``Forward`` does."""
    while True:
        try:
            async with connect(account, queued_max=10) as connection, asyncio.TaskGroup() as tasks:
                tasks.create_task(_listen(connection))
                while True:
                    await connection.publish("a/b", b"")
        except* LinkLostError:
            await asyncio.sleep(0.001)


async def _listen(connection: Connection) -> None:
    await connection.subscribe("a/b")
    async for _ in connection.messages():
        pass


async def _ends(work: Coroutine[Any, Any, None], steps: int) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(work)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
