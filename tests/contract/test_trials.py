"""What remembers trials, twin and PostgreSQL alike."""

from collections.abc import AsyncIterator

import pytest

from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.trials import PostgresTrials
from cloud.ports import Trials
from tests.support.postgres import Servers, flavours
from tests.support.trials import MemoryTrials

ONE, OTHER = b"\1" * 32, b"\2" * 32


@pytest.fixture(params=["memory", *flavours()])
async def trials(
    request: pytest.FixtureRequest, postgres_servers: Servers
) -> AsyncIterator[Trials]:
    if request.param == "memory":
        yield MemoryTrials()
        return
    async with postgres_servers.of(request.param).migrated() as url, pool(url) as connections:
        yield PostgresTrials(connections)


async def test_trials_are_counted_each_suspect_for_itself(trials: Trials) -> None:
    assert [await trials.begin(ONE) for _ in range(3)] == [1, 2, 3]
    assert await trials.begin(OTHER) == 1


async def test_a_trial_that_ended_politely_counts_no_more(trials: Trials) -> None:
    await trials.begin(ONE)
    await trials.begin(ONE)
    await trials.spare(ONE)
    assert await trials.begin(ONE) == 2


async def test_what_was_never_tried_may_be_spared(trials: Trials) -> None:
    for _ in range(2):
        await trials.spare(OTHER)
    assert await trials.begin(OTHER) == 1
