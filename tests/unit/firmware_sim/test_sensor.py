"""Sensors keep what they measured until their hub has it, and say it in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from firmware_sim.core.pending import ResendPolicy
from firmware_sim.sensor import Connection
from tests.support.wait import until
from tests.support.water import MemoryHub, MemoryLedger, some_readings
from wire.clock import SystemClock

IMPATIENT = ResendPolicy(after_ms=50, held_max=1_000)


@asynccontextmanager
async def talking(
    hub: MemoryHub, policy: ResendPolicy = IMPATIENT
) -> AsyncIterator[tuple[Connection, MemoryLedger]]:
    ledger = MemoryLedger()
    connection = Connection(hub, SystemClock(), ledger, policy)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(connection.run())
        yield connection, ledger
        task.cancel()


async def test_a_committed_reading_is_forgotten_and_entered_as_committed() -> None:
    hub = MemoryHub()
    async with talking(hub) as (connection, ledger):
        connection.say(some_readings([1, 2, 1], [1_000, 1_000, 2_000]))
        await until(lambda: connection.held == 0)
        assert set(hub.stored) == {(1, 1_000), (2, 1_000), (1, 2_000)}
        assert ledger.committed_rows == {0, 1, 2}
        assert connection.tally.committed == connection.tally.sent == 3


async def test_a_reading_is_in_the_ledger_before_it_leaves() -> None:
    hub = MemoryHub()
    async with talking(hub) as (connection, ledger):
        connection.say(some_readings([1], [1_000]))
        assert len(ledger.readings) == 1
        assert not hub.heard
        await until(lambda: hub.heard)


@pytest.mark.spec("I8")
async def test_what_a_hub_lost_after_puback_is_said_again_until_it_is_stored() -> None:
    lost: list[tuple[int, int]] = []

    def lose_each_twice(sensor_id: int, at_ms: int) -> bool:
        lost.append((sensor_id, at_ms))
        return lost.count((sensor_id, at_ms)) <= 2

    hub = MemoryHub(lose_each_twice)
    async with talking(hub) as (connection, ledger):
        connection.say(some_readings([1, 2, 3], [1_000, 1_000, 1_000]))
        await until(lambda: connection.held == 0)
        assert len(hub.stored) == 3
        assert ledger.committed_rows == {0, 1, 2}
        assert hub.sessions > 1


async def test_after_a_broken_connection_the_oldest_is_said_first() -> None:
    hub = MemoryHub()
    hub.answers = False
    async with talking(hub, ResendPolicy(after_ms=60_000)) as (connection, _):
        connection.say(some_readings([1, 1, 1], [1_000, 2_000, 3_000]))
        await until(lambda: len(hub.heard) == 3)
        hub.heard.clear()
        connection.say(some_readings([1], [4_000]))
        await until(lambda: len(hub.heard) == 1)
        hub.heard.clear()
        hub.cut()
        await until(lambda: len(hub.heard) >= 4)
        assert hub.heard == [(1, 1_000), (1, 2_000), (1, 3_000), (1, 4_000)]


async def test_a_reading_nobody_vouches_for_is_said_again_in_time() -> None:
    hub = MemoryHub()
    hub.answers = False
    async with talking(hub) as (connection, _):
        connection.say(some_readings([1], [1_000]))
        await until(lambda: len(hub.heard) >= 3)
        assert connection.held == 1
        hub.answers = True
        await until(lambda: connection.held == 0)


async def test_a_forgetful_sensor_says_it_once_whatever_becomes_of_it() -> None:
    hub = MemoryHub(lambda sensor_id, at_ms: True)
    async with talking(hub) as (connection, ledger):
        made = some_readings([1], [1_000])
        made.kept[:] = False
        connection.say(made)
        await until(lambda: hub.sessions >= 2)
        assert hub.heard == [(1, 1_000)]
        assert not ledger.readings.kept.any()
        assert connection.held == 0


async def test_what_finds_no_room_is_on_record_as_not_kept() -> None:
    hub = MemoryHub()
    hub.reachable = False
    async with talking(hub, ResendPolicy(held_max=2)) as (connection, ledger):
        connection.say(some_readings([1, 1, 1], [1_000, 2_000, 3_000]))
        assert connection.held == 2
        assert ledger.readings.kept.tolist() == [True, True, False]
        assert connection.tally.lost == 1
        hub.reachable = True
        await until(lambda: connection.held == 0)
        assert set(hub.stored) == {(1, 1_000), (1, 2_000)}
