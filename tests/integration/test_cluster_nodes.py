"""Three RabbitMQ nodes: what was acknowledged to a hub outlives any one of them."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import aiomqtt
import pytest

from cloud.adapters.amqp import CONNECT_WITHIN_S, Broker, connected
from gateway.cluster.check import faults
from gateway.cluster.service import enrol, look
from tests.support.builders import HUB, NORTH
from tests.support.inbox import CLOCK, RabbitShore
from tests.support.rabbitmq import Rabbits, rabbits
from tests.support.wait import until
from wire.errors import InfrastructureError
from wire.queues import Queue
from wire.topics import Channel, topic

BATCH = topic(NORTH, HUB, Channel.BATCH)
TOLD = 20
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def three() -> Iterator[Rabbits]:
    with rabbits(3) as running:
        yield running


async def safe(rabbit: Rabbits) -> bool:
    """Return whether every node runs and every queue has its copies."""
    try:
        async with rabbit.api() as api:
            return not faults(await look(api))
    except InfrastructureError:
        return False


async def publish(hub: aiomqtt.Client, number: int, acknowledged: set[bytes]) -> None:
    await hub.publish(BATCH, b"%d" % number, 1)
    acknowledged.add(b"%d" % number)


async def all_lent(rabbit: Rabbits, wanted: set[bytes]) -> bool:
    """Read the queue through whichever node answers until everything wanted has come."""
    came: set[bytes] = set()
    async with connected(RabbitShore(rabbit).broker("ingest"), [Queue.INGEST], CLOCK) as inbox:
        async for burst in inbox.deliveries():
            came |= {message.body for message in burst}
            if wanted <= came:
                for message in burst:
                    await message.ack()
                return True
    raise AssertionError


@pytest.mark.spec("O5")
async def test_a_queues_leader_may_die_without_a_word_and_what_hubs_were_told_stays(
    three: Rabbits,
) -> None:
    whole: bool = await until(partial(safe, three), within_s=60, poll_s=0.5)
    assert whole
    async with three.api() as api:
        await enrol(api, NORTH, HUB)
    leader = three.leader(Queue.INGEST)
    other = next(node.number for node in three.nodes if node.number != leader)
    told: set[bytes] = set()
    async with three.hub(HUB, other) as hub:
        for number in range(50):
            await publish(hub, number, told)
        three.kill(leader)
        for number in range(50, 100):
            await publish(hub, number, told)
    assert three.leader(Queue.INGEST, asked=other) != leader
    assert await all_lent(three, told)
    three.start(leader)
    whole = await until(partial(safe, three), within_s=120, poll_s=0.5)
    assert whole


async def _stand(broker: Broker, standing: asyncio.Event) -> None:
    async with connected(broker, [Queue.INGEST], CLOCK) as inbox:
        standing.set()
        async for _ in inbox.deliveries():
            pass


async def leave(broker: Broker, standing: asyncio.Event) -> None:
    """Stand at a node as a stage does until it is taken for gone, then stand at another at once."""
    with pytest.raises(InfrastructureError):
        await _stand(broker, standing)
    began = time.monotonic()
    async with connected(broker, [], CLOCK):
        assert time.monotonic() - began < CONNECT_WITHIN_S


async def test_a_frozen_leader_is_left_by_stages_and_wakes_as_if_nothing_had_been(
    three: Rabbits,
) -> None:
    async with three.api() as api:
        await enrol(api, NORTH, HUB)
    frozen = three.leader(Queue.INGEST)
    broker, standing = RabbitShore(three).broker("ingest"), asyncio.Event()
    hosts = sorted(broker.hosts, key=lambda host: host != broker.hosts[frozen - 1])
    others = [node.number for node in three.nodes if node.number != frozen]
    told: set[bytes] = set()

    async def goes_on() -> bool:
        """Say the same again on a new connection, as a hub does that hears nothing."""
        try:
            async with three.hub(HUB, others[0]) as hub:
                await publish(hub, len(told), told)
        except aiomqtt.MqttError:
            return False
        return len(told) == TOLD

    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(leave(replace(broker, hosts=tuple(hosts)), standing))
            await standing.wait()
            three.pause(frozen)
    finally:
        three.resume(frozen)
    went_on: bool = await until(goes_on, within_s=30)
    assert went_on
    whole: bool = await until(partial(safe, three), within_s=30, poll_s=0.5)
    assert whole, "nobody had given it up"
    assert await all_lent(three, told)
