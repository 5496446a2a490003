"""cloud.adapters.mqtt over a real broker: bounded in bytes, nobody else's hubs, honest failures."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.adapters.mqtt import Broker, connected, owned_by
from cloud.core.share import Share
from gateway.core.identity import Role
from tests.support.builders import HUB, NORTH
from tests.support.cloud_broker import broker_for_ingest
from tests.support.gateway import Gateway
from tests.support.wait import until
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.ids import HubId
from wire.topics import Channel, every_hub, topic

CLOCK = SystemClock()
TOPIC = topic(NORTH, HUB, Channel.BATCH)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with broker_for_ingest(tmp_path) as broker:
        yield broker


def stage(running: Gateway) -> Broker:
    url = f"mqtt://ingest@127.0.0.1:{running.port}"
    return Broker.read(url, running.folder / "ingest.token")


async def test_every_message_is_lent_once_in_order_and_receipts_go_back(running: Gateway) -> None:
    filters = [every_hub(Channel.BATCH)]
    async with (
        connected(stage(running), "ingest-0", filters, CLOCK) as inbox,
        running.client(HUB, Role.HUB) as hub,
    ):
        await hub.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
        for number in range(100):
            await hub.publish(TOPIC, b"%d" % number, 1)
        lent: list[bytes] = []
        async for burst in inbox.deliveries():
            lent += [delivery.body for delivery in burst]
            if len(lent) == 100:
                break
        assert lent == [b"%d" % number for number in range(100)]
        receipts = [(topic(NORTH, HUB, Channel.RECEIPT), b"%d" % n) for n in range(600)]
        await inbox.publish(receipts)
        heard = [(await anext(aiter(hub.messages))).payload for _ in range(200)]
        assert set(heard) <= {body for _, body in receipts}


async def test_what_finds_no_room_is_counted_and_memory_stays_bounded(running: Gateway) -> None:
    filters = [every_hub(Channel.BATCH)]
    async with (
        connected(stage(running), "ingest-0", filters, CLOCK, bytes_max=1_000) as inbox,
        running.client(HUB, Role.HUB) as hub,
    ):
        for _ in range(10):
            await hub.publish(TOPIC, bytes(300), 1)
        await until(lambda: inbox.dropped == 7)
        assert inbox.waiting_bytes == 900
        burst = await anext(aiter(inbox.deliveries()))
        assert len(burst) == 3
        assert inbox.waiting_bytes == 0


async def test_a_share_keeps_its_own_hubs_only(running: Gateway) -> None:
    shares = [Share(index, 2) for index in range(2)]
    mine = next(share for share in shares if share.owns(HubId("hub-1")))
    filters = [every_hub(Channel.BATCH)]
    async with (
        connected(stage(running), "ingest-0", filters, CLOCK, keeps=owned_by(mine.owns)) as inbox,
        running.client("hub-1", Role.HUB) as one,
        running.client("hub-2", Role.HUB) as two,
    ):
        await two.publish(topic(NORTH, HubId("hub-2"), Channel.BATCH), b"two", 1)
        await one.publish(TOPIC, b"one", 1)
        lent: list[bytes] = []
        async for burst in inbox.deliveries():
            lent += [delivery.body for delivery in burst]
            if b"one" in lent:
                break
        assert lent == [b"two", b"one"][not mine.owns(HubId("hub-2")) :]


async def test_a_broker_that_dies_is_an_infrastructure_error(running: Gateway) -> None:
    async def outlive() -> None:
        filters = [every_hub(Channel.BATCH)]
        async with connected(stage(running), "ingest-0", filters, CLOCK) as inbox:
            running.process.kill()
            await anext(aiter(inbox.deliveries()))

    with pytest.raises(InfrastructureError):
        await outlive()
