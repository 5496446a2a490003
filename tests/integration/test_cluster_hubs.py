"""Hubs at a real RabbitMQ: in by certificate, on their own topics, and out when revoked."""

import asyncio
import ssl
from contextlib import suppress
from random import Random

import aio_pika
import aiomqtt
import pytest

from gateway.cluster.check import faults
from gateway.cluster.service import ForbiddenNameError, declare, enrol, enrol_door, look, revoke
from tests.support import raw_mqtt
from tests.support.builders import HUB, NORTH
from tests.support.rabbitmq import Rabbits
from tests.support.spellings import foreign_spellings
from tests.support.wait import until
from wire.clock import SystemClock
from wire.ids import HubId, Region
from wire.queues import TOPICS, Queue, routing_key
from wire.topics import UPWARD, Channel, Lane, topic

OTHER = HubId("hub-2")
AT_ONCE = 8
SPELLINGS = 200  # a connection each way for each; test_cluster_topology.py tries all of them


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
    async with enrolled.hub(HUB) as hub:
        await hub.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
        for channel in sorted(UPWARD):
            await hub.publish(topic(NORTH, HUB, channel), b"said", 1)
        await say_receipt(enrolled, HUB)
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
    contrived = [each for each in foreign_spellings(HUB, OTHER) if "\0" not in each]
    spelt = Random(1).sample(contrived, SPELLINGS // 2) + misspelt(SPELLINGS // 2)
    attempts = iter([(make, each) for each in spelt for make in (_publish, _subscribe)])
    slipped: list[str] = []

    async def try_some(number: int) -> None:
        for make, each in attempts:
            said = await raw_mqtt.answer_to(port, context, f"{HUB}.{number:x}", make(each))
            if said:
                slipped.append(f"{make.__name__} {each!r}: {said!r}")

    async with enrolled.hub(OTHER) as other:
        await other.subscribe(topic(NORTH, OTHER, Channel.RECEIPT), qos=1)
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(try_some(number))
        assert slipped == []
        # What is its own is answered, and nothing else has arrived anywhere.
        for channel in (Channel.BATCH, Channel.HEALTH):
            own = topic(NORTH, HUB, channel)
            assert await raw_mqtt.answer_to(port, context, HUB, _publish(own)), "refused"
        assert await waiting(enrolled) == {Queue.INGEST: 1, Queue.DETECT: 1, Queue.HEALTH: 1}
        await say_receipt(enrolled, OTHER)
        async with asyncio.timeout(10):
            assert (await anext(aiter(other.messages))).payload == b"stored"


def misspelt(count: int, seed: int = 1) -> list[str]:
    """Return so many topics and filters a few slips of the pen away from real ones."""
    random, found = Random(seed), set[str]()
    mine = {routing_key(topic(NORTH, HUB, channel)) for channel in Channel}
    while len(found) < count:
        text = topic(NORTH, random.choice((HUB, OTHER, OTHER)), random.choice(list(Channel)))
        for _ in range(random.randint(1, 3)):
            at, letter = random.randrange(len(text)), random.choice("/+#.-*$|\n\\ 12aN\u00e9\u200b")
            text = text[:at] + letter * random.randint(0, 2) + text[at + random.randint(0, 2) :]
        if text.replace("/", ".") not in mine:  # a dot for a slash is still its own
            found.add(text)
    return sorted(found)


async def waiting(rabbit: Rabbits) -> dict[str, int]:
    """Return what lies in each queue that is not empty."""
    found: dict[str, int] = {}
    async with await rabbit.service("ingest") as connection:
        channel = await connection.channel()
        for name in (*Queue, *Lane):
            queue = await channel.declare_queue(name, passive=True)
            found[name] = queue.declaration_result.message_count or 0
    return {name: count for name, count in found.items() if count}


async def say_receipt(rabbit: Rabbits, hub: HubId) -> None:
    """Say ``stored`` to a hub, as ingest does."""
    async with await rabbit.service("ingest") as ingest:
        exchange = await (await ingest.channel()).get_exchange(TOPICS, ensure=False)
        receipt = topic(NORTH, hub, Channel.RECEIPT).replace("/", ".")
        await exchange.publish(aio_pika.Message(b"stored"), receipt)


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


@pytest.mark.spec("U8")
async def test_a_revoked_hub_is_cut_off_within_a_minute_while_others_flow(
    enrolled: Rabbits,
) -> None:
    clock, gone = SystemClock(), HubId("hub-to-revoke")
    taken: dict[HubId, int] = {}
    over = asyncio.Event()
    async with enrolled.api() as api:
        await enrol(api, NORTH, gone)
        async with asyncio.timeout(60), asyncio.TaskGroup() as flows:
            cut, flowing = (
                flows.create_task(flow(enrolled, hub, taken, over)) for hub in (gone, OTHER)
            )
            await until(lambda: taken.get(gone) and taken.get(OTHER))
            await revoke(api, gone, clock)
            await cut
            before = taken[OTHER]
            await until(lambda: taken[OTHER] > before)
            assert not flowing.done()
            over.set()
        assert gone not in {each["name"] for each in (await api.definitions())["users"]}
        await revoke(api, gone, clock)
    with pytest.raises(aiomqtt.MqttError):
        await enrolled.hub(gone).__aenter__()


async def flow(rabbit: Rabbits, hub: HubId, taken: dict[HubId, int], over: asyncio.Event) -> None:
    """Publish one batch after another until cut off or over; count those the broker took."""
    with suppress(aiomqtt.MqttError):
        async with rabbit.hub(hub) as client:
            while not over.is_set():
                await client.publish(topic(NORTH, hub, Channel.BATCH), b"flows", 1)
                taken[hub] = taken.get(hub, 0) + 1


async def test_who_is_no_hub_is_neither_enrolled_as_one_nor_a_stage_revoked(
    enrolled: Rabbits,
) -> None:
    async with enrolled.api() as api:
        for name in ("ingest", "http", "http-0", "sensors-1", "sensor-1"):
            with pytest.raises(ForbiddenNameError, match="not a hub's"):
                await enrol(api, NORTH, HubId(name))
        for name in ("ingest", "hub-1", "sensor-1"):
            with pytest.raises(ForbiddenNameError, match="is no door"):
                await enrol_door(api, NORTH, HubId(name))
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
