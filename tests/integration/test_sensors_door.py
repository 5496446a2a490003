"""Sensors that publish to the cluster themselves, through two doors, to rows; noise to nowhere."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from benchmarks.hostile import CORPUS
from cloud.adapters.postgres.pool import connect
from cloud.adapters.postgres.schema import Schema
from gateway.adapters.amqp import AmqpUplink
from gateway.adapters.http_meter import PrometheusDoorMeter
from gateway.cluster.service import enrol_door, enrol_sensor
from gateway.cluster.topology import LENT_MAX
from gateway.core.buckets import LATE_SLACK_MS, LocalBuckets
from gateway.core.virtual_hub import VirtualHub
from gateway.doors.http_courier import Courier
from gateway.doors.http_turnstile import Turnstile
from gateway.doors.sensors import TRIES, SensorsDoor
from headgate.stack.network import free_port
from headgate.stack.programs import answers
from tests.integration.test_cluster_river import ingest
from tests.support.builders import NORTH
from tests.support.cloud import STORE
from tests.support.cloud_tables import read_tables
from tests.support.rabbitmq import Rabbits
from tests.support.redis import redis_server
from tests.support.wait import until
from wire.clock import SystemClock
from wire.doors import EVERY_DOOR
from wire.ids import Epoch, HubId, SensorId
from wire.limits import SENSOR_MESSAGE_BYTES_MAX
from wire.reading import StatusMessage, decode_status
from wire.topics import sensor_data, sensor_status

SENSOR, STRANGER = SensorId(4_711), SensorId(4_712)
CLOCK = SystemClock()
NOISE = [body for body in CORPUS.values() if len(body) <= SENSOR_MESSAGE_BYTES_MAX]
LIVE = 5  # without a time of their own: two are let in, and no more


@dataclass
class Door:
    """One replica in this process, with what it counted."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def answered(self, status: str) -> int:
        """Return how many messages had this answer."""
        name = "gateway_sensors_answers_total"
        return round(self.registry.get_sample_value(name, {"status": status}) or 0)


def uplink_of(rabbit: Rabbits, name: HubId) -> AmqpUplink:
    hosts = tuple(f"localhost:{node.amqps}" for node in rabbit.nodes)
    return AmqpUplink(hosts, rabbit.authority.context(name), NORTH, name)


@asynccontextmanager
async def door(rabbit: Rabbits, name: HubId, store_id: UUID) -> AsyncIterator[Door]:
    """Run a door of that name until the block ends."""
    async with rabbit.api() as api:
        await enrol_door(api, NORTH, name)
    replica, uplink = Door(), uplink_of(rabbit, name)
    meter = PrometheusDoorMeter("sensors", replica.registry)
    hub = VirtualHub(name, NORTH, Epoch(random.getrandbits(63)))
    courier = Courier(hub, uplink, store_id, CLOCK, random.Random(1).random, meter)
    turnstile = Turnstile(None, CLOCK, meter)
    late = Turnstile(None, CLOCK, meter, LocalBuckets(slack_ms=LATE_SLACK_MS))
    async with asyncio.TaskGroup() as tasks:
        works = (courier, SensorsDoor(uplink, courier, turnstile, late, CLOCK, meter))
        running = [tasks.create_task(each.run()) for each in works]
        await until(lambda: courier.is_open)
        yield replica
        for each in running:
            each.cancel()


async def sensor(rabbit: Rabbits, sensor_id: SensorId) -> aiomqtt.Client:
    """Return the client of an enrolled sensor, not yet connected."""
    async with rabbit.api() as api:
        await enrol_sensor(api, sensor_id)
    return rabbit.hub(f"sensor-{sensor_id}", timeout=20)


async def drained(rabbit: Rabbits) -> None:
    """Throw away what other tests left."""
    await rabbit.empty()
    async with rabbit.api() as api:
        await enrol_door(api, NORTH, HubId("sensors-9"))
    async with uplink_of(rabbit, HubId("sensors-9")).open_sensors() as link:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                async for said in link.messages():
                    await said.ack()


async def store_of(url: str) -> UUID:
    async with connect(url) as connection:
        return await Schema(connection).store_id()


async def listen(client: aiomqtt.Client, heard: list[StatusMessage]) -> None:
    """Keep what a sensor is told, until cancelled."""
    async for message in client.messages:
        assert isinstance(message.payload, bytes)
        heard.append(decode_status(message.payload))


async def speak(client: aiomqtt.Client, times_ms: list[int]) -> None:
    """Say a reading at each time."""
    for at_ms in times_ms:
        body = b'{"sensor_id":"%d","pH":7.2,"timestamp":%d}' % (SENSOR, at_ms)
        await client.publish(sensor_data(SENSOR), body, 1)


async def speak_badly(client: aiomqtt.Client) -> None:
    """Say noise, another sensor's reading, and more than a sensor may at once."""
    for each in NOISE:
        await client.publish(sensor_data(SENSOR), each, 1)
    await client.publish(sensor_data(SENSOR), b'{"sensor_id":"%d","pH":7}' % STRANGER, 1)
    for _ in range(LIVE):
        await client.publish(sensor_data(SENSOR), b'{"temp":9.5}', 1)


@pytest.mark.spec("I3", "I6")
async def test_two_doors_carry_one_sensor_and_what_is_noise_costs_nobody_anything(
    rabbit: Rabbits, database_url: str
) -> None:
    await drained(rabbit)
    store_id, now_ms = await store_of(database_url), CLOCK.now_ms()
    said = [now_ms - 600_000 + 1_000 * n for n in range(60)]  # a third while no door is there
    heard: list[StatusMessage] = []
    names = [HubId(f"sensors-{number}") for number in range(2)]
    async with AsyncExitStack() as open_now:
        client = await open_now.enter_async_context(await sensor(rabbit, SENSOR))
        await client.subscribe(sensor_status(SENSOR), qos=1)
        listening = await open_now.enter_async_context(asyncio.TaskGroup())
        task = listening.create_task(listen(client, heard))
        await speak(client, said[:20])
        await speak_badly(client)
        open_now.enter_context(ingest(rabbit, database_url))
        doors = [await open_now.enter_async_context(door(rabbit, n, store_id)) for n in names]
        await speak(client, said[20:])

        def answered(*statuses: str) -> int:
            return sum(each.answered(status) for each in doors for status in statuses)

        async def stored() -> bool:
            # What two doors, or one, dated in the same millisecond is one row.
            instants = {at_ms for _, at_ms in (await read_tables(database_url)).readings}
            return set(said) < instants and len(instants) <= answered("202")

        everything = len(said) + len(NOISE) + 1 + LIVE
        await until(lambda: answered("202", "400", "422", "429") == everything, within_s=60)
        await until(lambda: {at for each in heard for at in each.committed_ms} == set(said))
        await until(lambda: any(each.throttled for each in heard))
        rows: bool = await until(stored, within_s=60, poll_s=0.1)
        assert rows
        task.cancel()
    tables = await read_tables(database_url)
    assert {at_ms for _, at_ms in tables.readings} >= set(said)
    assert len(said) + 2 <= answered("202") <= len(said) + 2 * len(doors), "a bucket each"
    assert answered("400", "422") == len(NOISE) + 1
    assert tables.sensors == {SENSOR: EVERY_DOOR}
    assert {key.hub_id for key in tables.log} == set(names), "both carried it"


@asynccontextmanager
async def process(rabbit: Rabbits, name: HubId, store_id: UUID, redis: str) -> AsyncIterator[None]:
    """Run a door as an operator does, until the block ends; return once it is ready."""
    async with rabbit.api() as api:
        await enrol_door(api, NORTH, name)
    rabbit.authority.issue(name)
    port = free_port(0)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "headgate.cli", "run", "sensors"),
        env={
            **os.environ,
            "HEADGATE_HTTP_BIND": f"127.0.0.1:{port}",
            "HEADGATE_BROKER_URL": f"amqps://localhost:{rabbit.nodes[0].amqps}",
            "HEADGATE_BROKER_TLS": str(rabbit.authority.home(name)),
            "HEADGATE_DOOR_NAME": name,
            "HEADGATE_REGION": NORTH,
            "HEADGATE_STORE_ID": str(store_id),
            "HEADGATE_REDIS_URL": redis,
        },
    )
    try:
        is_ready: bool = await until(lambda: answers(port, "/readyz"), within_s=30)
        assert is_ready
        yield
    finally:
        running.terminate()
        async with asyncio.timeout(20):
            assert await running.wait() == 0


@pytest.mark.spec("I3")
async def test_a_door_with_redis_says_when_it_is_ready_and_carries_what_sensors_say(
    rabbit: Rabbits, database_url: str
) -> None:
    await drained(rabbit)
    said = [CLOCK.now_ms() - 600_000 + 1_000 * n for n in range(5)]
    heard: list[StatusMessage] = []
    with redis_server() as redis:
        async with (
            process(rabbit, HubId("sensors-3"), await store_of(database_url), redis.url),
            await sensor(rabbit, SENSOR) as client,
            asyncio.TaskGroup() as tasks,
        ):
            await client.subscribe(sensor_status(SENSOR), qos=1)
            listening = tasks.create_task(listen(client, heard))
            await speak(client, said)
            told: bool = await until(
                lambda: {at for each in heard for at in each.committed_ms} == set(said), within_s=30
            )
            assert told
            listening.cancel()


@pytest.mark.spec("U8")
async def test_a_sensor_may_speak_for_itself_only(rabbit: Rabbits) -> None:
    await drained(rabbit)
    client = await sensor(rabbit, SENSOR)
    with pytest.raises(aiomqtt.MqttError):
        async with client:
            await client.publish(sensor_data(STRANGER), b'{"pH":7}', 1)
    async with uplink_of(rabbit, HubId("sensors-9")).open_sensors() as link:
        async with await sensor(rabbit, SENSOR) as itself:
            await itself.publish(sensor_data(SENSOR), b'{"pH":7}', 1)
        async with asyncio.timeout(20):
            said = await anext(aiter(link.messages()))
        assert (said.topic, said.lent_before) == (sensor_data(SENSOR), 0)
        await said.ack()


@pytest.mark.spec("Q3")
async def test_what_doors_died_with_is_tried_alone_and_ends(rabbit: Rabbits) -> None:
    await drained(rabbit)
    uplink, lent = uplink_of(rabbit, HubId("sensors-9")), []
    async with await sensor(rabbit, SENSOR) as client:
        await client.publish(sensor_data(SENSOR), b'{"pH":7}', 1)
    for _ in range(LENT_MAX):
        async with uplink.open_sensors() as link, asyncio.timeout(20):
            await anext(aiter(link.messages()))  # and away, without a word
    for _ in range(TRIES + 1):
        async with uplink.open_sensors() as link, asyncio.timeout(20):
            lent.append((await anext(aiter(link.suspects()))).lent_before)
    assert lent == list(range(TRIES + 1))
    async with door(rabbit, HubId("sensors-0"), STORE) as replica:
        await until(lambda: replica.answered("500") == 1)
