"""Hubs at a real RabbitMQ: in by certificate, on their own topics, and out when revoked."""

import asyncio
import ssl

import aio_pika
import aiomqtt
import pytest

from gateway.cluster.check import faults
from gateway.cluster.service import ForbiddenNameError, declare, enrol, look, revoke
from tests.support import raw_mqtt
from tests.support.builders import HUB, NORTH
from tests.support.rabbitmq import Rabbits
from tests.support.spellings import foreign_spellings
from wire.clock import SystemClock
from wire.ids import HubId, Region
from wire.queues import TOPICS, Queue
from wire.topics import UPWARD, Channel, topic

OTHER = HubId("hub-2")
AT_ONCE = 8


@pytest.fixture
async def enrolled(rabbit: Rabbits) -> Rabbits:
    """The cluster with two hubs; its queues are empty."""
    async with rabbit.api() as api:
        for hub in (HUB, OTHER):
            await enrol(api, NORTH, hub)
    await rabbit.empty()
    return rabbit


async def keys_in(rabbit: Rabbits, role: str, queue: str, count: int) -> list[str]:
    """Take so many messages out of a queue and return their routing keys."""
    keys: list[str] = []
    async with asyncio.timeout(20), await rabbit.service(role) as connection:
        channel = await connection.channel()
        source = await channel.get_queue(queue)
        async with source.iterator(no_ack=True) as messages:
            async for message in messages:
                keys.append(str(message.routing_key))
                if len(keys) == count:
                    break
    return keys


async def test_what_a_declared_cluster_and_its_hubs_may_do_is_found_safe(enrolled: Rabbits) -> None:
    async with enrolled.api() as api:
        assert faults(await look(api)) == []
        before = await api.definitions()
        await declare(api, [NORTH])
        await enrol(api, NORTH, HUB)
        assert await api.definitions() == before


async def test_each_of_a_hubs_channels_reaches_its_queue_and_receipts_come_back(
    enrolled: Rabbits,
) -> None:
    async with enrolled.hub(HUB) as hub, await enrolled.service("ingest") as ingest:
        await hub.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
        for channel in sorted(UPWARD):
            await hub.publish(topic(NORTH, HUB, channel), b"said", 1)
        exchange = await (await ingest.channel()).get_exchange(TOPICS, ensure=False)
        receipt = topic(NORTH, HUB, Channel.RECEIPT)
        await exchange.publish(aio_pika.Message(b"stored"), receipt.replace("/", "."))
        async with asyncio.timeout(10):
            assert (await anext(aiter(hub.messages))).payload == b"stored"
    own = f"headgate.1.{NORTH}.{HUB}."
    found = {
        queue: [key.removeprefix(own) for key in await keys_in(enrolled, role, queue, count)]
        for role, queue, count in (
            ("ingest", Queue.INGEST, 3),
            ("detect", Queue.DETECT, 1),
            ("detect", Queue.DETECT_URGENT, 1),
            ("refresh", Queue.HEALTH, 2),
        )
    }
    assert found == {
        Queue.INGEST: ["batch", "hello", "urgent"],
        Queue.DETECT: ["batch"],
        Queue.DETECT_URGENT: ["urgent"],
        Queue.HEALTH: ["health", "status"],
    }


@pytest.mark.spec("U8")
async def test_a_hub_can_neither_say_nor_hear_what_is_anothers_however_it_is_spelt(
    enrolled: Rabbits,
) -> None:
    context, port = enrolled.authority.context(HUB), enrolled.nodes[0].mqtts
    spelt = [each for each in foreign_spellings(HUB, OTHER) if "\0" not in each]
    assert len(spelt) >= 200
    attempts = iter([(make, each) for each in spelt for make in (_publish, _subscribe)])
    slipped: list[str] = []

    async def try_some(number: int) -> None:
        for make, each in attempts:
            said = await raw_mqtt.answer_to(port, context, f"{HUB}.{number:x}", make(each))
            if said:
                slipped.append(f"{make.__name__} {each!r}: {said!r}")

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(try_some(number))
    assert slipped == []
    # What is its own is answered, and is the first thing to arrive.
    for role, queue, channel in (
        ("ingest", Queue.INGEST, Channel.BATCH),
        ("refresh", Queue.HEALTH, Channel.HEALTH),
    ):
        own = topic(NORTH, HUB, channel)
        said = await raw_mqtt.answer_to(port, context, HUB, _publish(own))
        assert said, "refused"
        assert await keys_in(enrolled, role, queue, 1) == [own.replace("/", ".")]


async def test_nobody_enters_by_a_password_without_a_certificate_or_by_a_strangers(
    enrolled: Rabbits,
) -> None:
    user, password = enrolled.admin
    for name, secret in ((user, password), (OTHER, ""), (OTHER, "guessed"), ("guest", "guest")):
        with pytest.raises(aiomqtt.MqttError):
            await enrolled.hub(HUB, username=name, password=secret).__aenter__()
    with pytest.raises(aiomqtt.MqttError):
        await enrolled.hub("never-enrolled").__aenter__()
    bare = ssl.create_default_context(cafile=str(enrolled.authority.root))
    with pytest.raises((OSError, AssertionError)):
        await _must_answer(enrolled.nodes[0].mqtts, bare)


async def _must_answer(port: int, context: ssl.SSLContext) -> None:
    if not await raw_mqtt.answer_to(port, context, HUB, b""):
        raise ConnectionError


async def test_a_revoked_hub_is_cut_off_and_stays_out(enrolled: Rabbits) -> None:
    clock = SystemClock()
    gone = HubId("hub-to-revoke")
    async with enrolled.api() as api:
        await enrol(api, NORTH, gone)
        async with asyncio.timeout(60), enrolled.hub(gone) as hub:
            await hub.subscribe(topic(NORTH, gone, Channel.RECEIPT), qos=1)
            await revoke(api, gone, clock)
            with pytest.raises(aiomqtt.MqttError):
                await anext(aiter(hub.messages))
        assert gone not in {each["name"] for each in (await api.definitions())["users"]}
        await revoke(api, gone, clock)
    with pytest.raises(aiomqtt.MqttError):
        await enrolled.hub(gone).__aenter__()


async def test_a_stage_is_neither_enrolled_nor_revoked_as_a_hub(enrolled: Rabbits) -> None:
    async with enrolled.api() as api:
        with pytest.raises(ForbiddenNameError):
            await enrol(api, NORTH, HubId("ingest"))
        with pytest.raises(ForbiddenNameError):
            await revoke(api, HubId("ingest"), SystemClock())
        with pytest.raises(ForbiddenNameError):
            await enrol(api, Region("no.rth"), HUB)


async def test_old_suites_are_refused(enrolled: Rabbits) -> None:
    context = enrolled.authority.context(HUB)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
    with pytest.raises(ssl.SSLError):
        await raw_mqtt.answer_to(enrolled.nodes[0].mqtts, context, HUB, b"")


def _publish(name: str) -> bytes:
    return raw_mqtt.publish(name, b"foreign")


def _subscribe(name: str) -> bytes:
    return raw_mqtt.subscribe(name)


async def test_a_new_regions_hub_brings_its_log(enrolled: Rabbits) -> None:
    async with enrolled.api() as api:
        await enrol(api, Region("south"), HubId("hub-south"))
        assert "log.south" in {each["name"] for each in (await api.definitions())["queues"]}
        assert faults(await look(api)) == []
