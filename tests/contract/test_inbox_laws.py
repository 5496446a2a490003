"""What every ``Inbox`` and ``Lanes`` keeps to, whichever broker stands behind it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.ports import Delivery, Inbox
from tests.support.builders import HUB, NORTH
from tests.support.cloud_broker import broker_for_ingest
from tests.support.inbox import (
    CLOCK,
    RECEIPT,
    EmbeddedShore,
    MemoryShore,
    Shore,
    rabbit_shore,
)
from wire.errors import InfrastructureError
from wire.topics import Channel, Lane, lane_topic, topic

WITHIN_S = 30


@pytest.fixture(params=["memory", "embedded", "rabbitmq"])
async def shore(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shore]:
    match request.param:
        case "memory":
            yield MemoryShore()
        case "embedded":
            async with broker_for_ingest(tmp_path) as broker:
                yield EmbeddedShore(broker)
        case _:
            yield await rabbit_shore(request.getfixturevalue("rabbit"))


async def lent(inbox: Inbox, count: int, *, acknowledge: bool = True) -> list[Delivery]:
    """Take so many messages, and go on listening until what was promised is told."""
    taken: list[Delivery] = []
    async with asyncio.timeout(WITHIN_S):
        async for burst in inbox.deliveries():
            assert burst, "an empty burst"
            taken += burst
            if acknowledge:
                for delivery in burst:
                    await delivery.ack()
            if len(taken) >= count:
                return taken
    raise AssertionError


async def test_every_message_is_lent_once_in_order_with_its_topic_and_our_time(
    shore: Shore,
) -> None:
    began_ms = CLOCK.now_ms()
    async with shore.ingest() as inbox, shore.hub() as hub:
        for number in range(100):
            await hub.say(Channel.BATCH, b"%d" % number)
        await hub.say(Channel.HELLO, b"")
        taken = await lent(inbox, 101)
    assert [each.body for each in taken] == [*(b"%d" % number for number in range(100)), b""]
    assert {each.topic for each in taken[:100]} == {topic(NORTH, HUB, Channel.BATCH)}
    assert taken[100].topic == topic(NORTH, HUB, Channel.HELLO)
    assert all(began_ms <= each.received_at_ms <= CLOCK.now_ms() for each in taken)


async def test_receipts_reach_their_hub_and_to_a_hub_that_is_away_is_no_failure(
    shore: Shore,
) -> None:
    async with shore.ingest() as lanes:
        await lanes.publish([(RECEIPT, b"nobody hears this")])
        async with shore.hub() as hub, asyncio.timeout(WITHIN_S):
            await lanes.publish([(RECEIPT, b"%d" % number) for number in range(300)])
            heard = {await hub.hear() for _ in range(200)}
        assert heard <= {b"%d" % number for number in range(300)}
        await lanes.publish([])


async def test_a_word_on_a_lane_reaches_who_reads_it(shore: Shore) -> None:
    async with shore.high_lane() as reader, shore.detect() as sender:
        await sender.send(Lane.HIGH, b"findings")
        (word,) = await lent(reader, 1)
    assert (word.topic, word.body) == (lane_topic(Lane.HIGH), b"findings")


async def test_what_is_acknowledged_never_comes_again_and_the_rest_does(shore: Shore) -> None:
    async with shore.ingest() as inbox, shore.hub() as hub:
        for number in range(20):
            await hub.say(Channel.BATCH, b"%d" % number)
        for delivery in (await lent(inbox, 20, acknowledge=False))[:15:2]:
            await delivery.ack()
            await delivery.ack()
    async with shore.ingest() as inbox, shore.hub() as hub:
        await hub.say(Channel.BATCH, b"last")
        again = {1, 3, 5, 7, 9, 11, 13, 15, 16, 17, 18, 19} if shore.lends_again else set()
        taken = await lent(inbox, len(again) + 1)
    assert {each.body for each in taken} == {b"last", *(b"%d" % number for number in again)}


async def test_a_connection_that_ends_is_an_infrastructure_error(shore: Shore) -> None:
    async def outlive() -> None:
        async with shore.ingest() as inbox:
            await shore.break_off()
            await lent(inbox, 1)

    with pytest.raises(InfrastructureError):
        await outlive()


async def test_who_waits_for_a_message_can_be_cancelled(shore: Shore) -> None:
    async with shore.ingest() as inbox, shore.hub() as hub:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(aiter(inbox.deliveries()))
        await hub.say(Channel.BATCH, b"still here")
        (taken,) = await lent(inbox, 1)
    assert taken.body == b"still here"
