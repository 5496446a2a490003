"""What only RabbitMQ does: tries counted, poison set aside, jobs put off, back-pressure."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from cloud.adapters.amqp import Broker, Message, connected
from gateway.cluster.topology import LENT_MAX
from tests.support.builders import HUB, NORTH
from tests.support.inbox import CLOCK, RabbitShore, rabbit_shore
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire.errors import InfrastructureError
from wire.queues import RETRY_DELAYS_MS, Queue
from wire.topics import Channel, Lane, lane_topic, topic

WITHIN_S = 30


@pytest.fixture
async def shore(rabbit: Rabbits) -> RabbitShore:
    return await rabbit_shore(rabbit)


async def first(messages: AsyncIterator[Message]) -> Message:
    async with asyncio.timeout(WITHIN_S):
        return await anext(messages)


async def taken(shore: RabbitShore, role: str, queue: str, *, prefetch: int = 100) -> list[Message]:
    """Connect, take one burst, and leave without acknowledging it."""
    async with connected(shore.broker(role), [queue], CLOCK, prefetch=prefetch) as inbox:
        async with asyncio.timeout(WITHIN_S):
            return list(await anext(aiter(inbox.deliveries())))


@pytest.mark.spec("Q3")
async def test_who_dies_of_a_message_time_and_again_finds_it_among_the_suspects(
    shore: RabbitShore,
) -> None:
    async with shore.hub() as hub:
        await hub.say(Channel.BATCH, b"poison")
    for tried in range(LENT_MAX):
        (message,) = await taken(shore, "ingest", Queue.INGEST)
        assert message.redelivered == tried
    (suspect,) = await taken(shore, "ingest", Queue.DEAD_LETTERS)
    assert (suspect.body, suspect.topic) == (b"poison", topic(NORTH, HUB, Channel.BATCH))
    async with shore.hub() as hub:
        await hub.say(Channel.BATCH, b"good")
    (good,) = await taken(shore, "ingest", Queue.INGEST)
    assert good.body == b"good"


@pytest.mark.spec("Q3")
async def test_a_job_put_off_comes_back_later_to_its_own_lane_knowing_how_often(
    shore: RabbitShore,
) -> None:
    async with (
        connected(shore.broker("schedule"), [], CLOCK) as schedule,
        connected(shore.broker("work"), [Lane.LOW], CLOCK) as work,
    ):
        jobs = work.jobs()
        await schedule.send(Lane.LOW, b"report")
        job = await first(jobs)
        assert job.attempts == 0
        put_off_ms = CLOCK.steady_ms()
        await work.put_off(job, Lane.LOW)
        again = await first(jobs)
        assert (again.body, again.attempts) == (b"report", 1)
        assert CLOCK.steady_ms() - put_off_ms >= RETRY_DELAYS_MS[0]
        again.attempts = len(RETRY_DELAYS_MS)  # as if it had come back that often
        await work.put_off(again, Lane.LOW)
        await schedule.send(Lane.LOW, b"next")
        assert (await first(jobs)).body == b"next"
    (dead,) = await taken(shore, "work", Queue.DEAD_JOBS)
    assert (dead.body, dead.topic) == (b"report", lane_topic(Lane.LOW))


async def test_no_more_is_with_us_than_was_asked_for_until_some_is_acknowledged(
    shore: RabbitShore,
) -> None:
    async with shore.hub() as hub:
        for number in range(30):
            await hub.say(Channel.BATCH, b"%d" % number)
    broker = shore.broker("ingest")
    async with connected(broker, [Queue.INGEST], CLOCK, prefetch=10) as inbox:
        await until(lambda: inbox.waiting_bytes == 10)
        bursts = aiter(inbox.deliveries())
        lent: list[Message] = []
        async with asyncio.timeout(WITHIN_S):
            while len(lent) < 30:
                burst = await anext(bursts)
                assert len(burst) <= 10
                lent += burst
                for message in burst:
                    await message.ack()
    assert [message.body for message in lent] == [b"%d" % number for number in range(30)]


async def test_jobs_come_one_by_one_in_order(shore: RabbitShore) -> None:
    async with connected(shore.broker("work"), [Lane.LOW], CLOCK) as work:
        for number in range(3):
            await work.send(Lane.LOW, b"%d" % number)
        jobs = work.jobs()
        said = [(await first(jobs)).body for _ in range(3)]
    assert said == [b"0", b"1", b"2"]


async def test_what_must_arrive_and_cannot_is_a_failure(shore: RabbitShore) -> None:
    async with shore.ingest() as ingest:
        with pytest.raises(InfrastructureError):
            await ingest.publish([("headgate/1/north/hub-1/desired", b"not ingest's to say")])


@pytest.mark.parametrize(("role", "queue"), [("ingest", "no-such-queue"), ("alert", Queue.INGEST)])
async def test_a_queue_that_is_missing_or_not_ours_is_said_at_once(
    shore: RabbitShore, role: str, queue: str
) -> None:
    with pytest.raises(InfrastructureError, match="broker"):
        await taken(shore, role, queue)


async def test_the_first_node_that_answers_is_taken_and_none_is_a_failure(
    shore: RabbitShore,
) -> None:
    real = shore.broker("ingest")
    away = Broker(("localhost:9", *real.hosts), real.tls)
    async with connected(away, [Queue.INGEST], CLOCK):
        pass
    with pytest.raises(InfrastructureError, match="no node answers"):
        await connected(Broker(("localhost:9",), real.tls), [], CLOCK).__aenter__()


@pytest.mark.parametrize(
    "url", ["amqp://localhost:5672", "amqps://me@localhost:5671", "amqps://localhost", "mqtt://a:1"]
)
def test_an_address_that_is_no_cluster_is_refused(url: str, rabbit: Rabbits) -> None:
    tls = rabbit.authority.issue("ingest")
    with pytest.raises(ValueError, match="amqps"):
        Broker.read(url, tls.authority, tls.certificate, tls.key)


async def test_many_acknowledgements_at_once_break_nothing(shore: RabbitShore) -> None:
    async with shore.hub() as hub:
        for number in range(200):
            await hub.say(Channel.BATCH, b"%d" % number)
    async with shore.ingest() as inbox:
        held: list[Message] = []
        async with asyncio.timeout(WITHIN_S):
            async for burst in inbox.deliveries():
                held += burst
                # Some at once, some late, some in the wrong order.
                for message in itertools.islice(reversed(held), 0, None, 3):
                    await message.ack()
                if len(held) == 200:
                    break
        for message in held:
            await message.ack()
    async with shore.hub() as hub, shore.ingest() as inbox:
        await hub.say(Channel.BATCH, b"last")
        assert [m.body for m in await anext(aiter(inbox.deliveries()))] == [b"last"]
