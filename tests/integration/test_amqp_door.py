"""A door at a real RabbitMQ: safe on the confirm of a majority, forgotten on the receipt."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aio_pika
import pytest
from prometheus_client import CollectorRegistry

from gateway.adapters.amqp import AmqpUplink
from gateway.adapters.http_meter import PrometheusDoorMeter
from gateway.cluster.service import enrol_door
from gateway.core.readings import Readings, stamped
from gateway.core.virtual_hub import VirtualHub
from gateway.doors.http_courier import Courier, Fate
from tests.support.builders import EPOCH, NORTH
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire.clock import SystemClock
from wire.codec import peek
from wire.control import Receipt, encode_receipt
from wire.ids import HubId
from wire.queues import TOPICS, Queue, routing_key
from wire.ranges import from_numbers
from wire.reading import parse_sensor_message
from wire.topics import Channel, topic

DOOR = HubId("http")
STORE = UUID("3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11")


def one(sensor: int) -> Readings:
    message = parse_sensor_message(b'{"sensor_id":%d,"pH":7}' % sensor)
    return stamped(message, SystemClock().now_ms())


@asynccontextmanager
async def door(rabbit: Rabbits) -> AsyncIterator[tuple[Courier, VirtualHub]]:
    async with rabbit.api() as api:
        await enrol_door(api, NORTH, DOOR)
    await rabbit.empty()
    hosts = tuple(f"localhost:{node.amqps}" for node in rabbit.nodes)
    uplink = AmqpUplink(hosts, rabbit.authority.context(DOOR), NORTH, DOOR)
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    chance = random.Random(1).random
    meter = PrometheusDoorMeter(registry=CollectorRegistry())
    courier = Courier(hub, uplink, STORE, SystemClock(), chance, meter)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(courier.run())
        await until(lambda: courier.is_open)
        yield courier, hub
        running.cancel()


@pytest.mark.spec("E1", "I8")
async def test_what_a_majority_confirmed_is_answered_and_kept_until_its_receipt(
    rabbit: Rabbits,
) -> None:
    async with door(rabbit) as (courier, hub):
        fates = [await courier.deliver(one(sensor)) for sensor in (1, 2)]
        assert fates == [Fate.SAFE, Fate.SAFE]
        assert hub.held == 2, "confirmed is not stored"
        async with await rabbit.service("ingest") as connection:
            channel = await connection.channel()
            exchange = await channel.get_exchange(TOPICS, ensure=False)
            queue = await channel.get_queue(Queue.INGEST, ensure=False)
            for _ in fates:
                message = await queue.get(timeout=5)
                assert message is not None
                key = peek(message.body).seal.key
                await message.ack()
                settled = from_numbers([key.sequence])
                receipt = Receipt(STORE, key.epoch, settled, (), SystemClock().now_ms())
                name = routing_key(topic(NORTH, DOOR, Channel.RECEIPT))
                await exchange.publish(aio_pika.Message(encode_receipt(receipt)), name)
            await until(lambda: hub.held == 0)


async def test_a_door_cut_off_takes_nothing_and_finds_its_way_again(rabbit: Rabbits) -> None:
    async with door(rabbit) as (courier, _):
        async with rabbit.api() as api:

            async def cut() -> bool:
                return await api.hang_up(DOOR) > 0

            was_cut: bool = await until(cut)
            assert was_cut
        await until(lambda: not courier.is_open)
        assert await courier.deliver(one(3)) in (Fate.AWAY, Fate.SAFE)
        await until(lambda: courier.is_open)
        assert await courier.deliver(one(4)) is Fate.SAFE
