"""The buckets doors share, in a real Redis, against the pure function."""

import asyncio
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import redis
from hypothesis import given, settings

from gateway.adapters.redis_buckets import RedisBuckets
from gateway.core.buckets import LATE_BURST
from gateway.doors.http_turnstile import Turnstile
from tests.support.builders import NOON
from tests.support.redis import RedisServer, redis_server
from tests.support.tokens import MESSAGES, Oracle
from tests.support.wait import until
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.limits import SENSOR_BURST
from wire.reading import SensorMessage

_RUNS = itertools.count(1)
PATIENCE_S = 30.0  # what is asked here is the answer, not how fast it comes


class Tally:
    """Counts messages a door judged alone."""

    def __init__(self) -> None:
        self.judged_alone = 0

    def answered(self, answer: str) -> None: ...

    def admitted(self, message: SensorMessage) -> None: ...

    def alone(self, messages: int) -> None:
        self.judged_alone += messages

    def held(self, batches: int, size: int) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        client = redis.Redis.from_url(running.url)
        asyncio.run(until(lambda: _answers(client)))
        client.close()
        yield running


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.spec("I6")
@given(MESSAGES)
@settings(max_examples=40, deadline=None)
def test_the_script_lets_in_what_the_pure_function_lets_in(
    server: RedisServer, messages: list[tuple[int, list[int]]]
) -> None:
    base = 1_000 * next(_RUNS)  # every example has sensors of its own

    async def judge() -> None:
        buckets, oracle, now_ms = RedisBuckets.at(server.url, PATIENCE_S), Oracle(), int(NOON)
        try:
            for wait_ms, sensors in messages:
                now_ms += wait_ms
                (wait,) = await buckets.take([base + np.array(sensors)], now_ms)
                assert (wait == 0) == oracle.take(sensors, now_ms)
                if wait and max(map(sensors.count, sensors)) <= SENSOR_BURST:
                    assert not oracle.would(sensors, now_ms + wait - 1)
                    assert oracle.would(sensors, now_ms + wait)
        finally:
            await buckets.close()

    asyncio.run(judge())


async def test_messages_asked_together_are_judged_in_turn(server: RedisServer) -> None:
    buckets = RedisBuckets.at(server.url, PATIENCE_S)
    messages = [np.array([7]), np.array([7, 8]), np.array([7]), np.array([8])]
    waits = await buckets.take(messages, int(NOON))
    await buckets.close()
    assert [wait == 0 for wait in waits] == [True, True, False, True]


@pytest.mark.spec("I6")
async def test_doors_that_share_a_server_let_in_no_more_than_one(server: RedisServer) -> None:
    clock, tally = SystemClock(), Tally()
    doors = [RedisBuckets.at(server.url, PATIENCE_S) for _ in range(3)]
    stiles = [Turnstile(door, clock, tally) for door in doors]
    let_in = 0

    async def knock(stile: Turnstile) -> None:
        nonlocal let_in
        for _ in range(40):
            wait = await stile.take(np.array([77]))
            let_in += wait == 0

    began = clock.steady_ms()
    async with asyncio.TaskGroup() as tasks:
        serving = [tasks.create_task(stile.run()) for stile in stiles]
        async with asyncio.TaskGroup() as knocking:
            for stile in stiles * 4:
                knocking.create_task(knock(stile))
        for each in serving:
            each.cancel()
    took_s = (clock.steady_ms() - began) / 1_000
    for door in doors:
        await door.close()
    assert tally.judged_alone == 0
    assert SENSOR_BURST <= let_in <= SENSOR_BURST + took_s


async def test_while_the_server_is_away_a_door_judges_alone_and_counts_it() -> None:
    clock, tally = SystemClock(), Tally()
    away = RedisBuckets.at("redis://127.0.0.1:1/0")
    with pytest.raises(InfrastructureError):
        await away.take([np.array([1])])
    stile = Turnstile(away, clock, tally)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(stile.run())
        waits = [await stile.take(np.array([1])) for _ in range(SENSOR_BURST + 1)]
        serving.cancel()
    await away.close()
    assert [wait == 0 for wait in waits] == [True] * SENSOR_BURST + [False]
    assert tally.judged_alone == SENSOR_BURST + 1


async def test_an_hour_said_late_is_let_in_beside_what_is_said_now(server: RedisServer) -> None:
    live = RedisBuckets.at(server.url, PATIENCE_S)
    late, sensor = live.late(), np.array([10**9])
    try:
        waits = await late.take([sensor] * (LATE_BURST + 1), NOON)
        assert [wait == 0 for wait in waits] == [True] * LATE_BURST + [False]
        assert await live.take([sensor], NOON) == [0]
    finally:
        await live.close()
