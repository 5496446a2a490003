"""A real agent, killed at any moment while sensors speak: what it called committed is stored."""

import asyncio
import random
import signal
from pathlib import Path

import pytest

from tests.support.agent import Agent, FakeCloud, Probes, cloud, killed_at_the_end
from tests.support.gateway import gateway
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.clock import SystemClock

READINGS = 60
KILLS = 5
SENSORS = range(1, 11)


async def _kill_now_and_then(agent: Agent, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(KILLS):
        await until(agent.listens, within_s=30)
        await asyncio.sleep(1.5 * chance.random())
        agent.stop(signal.SIGKILL)
        agent.start()


@pytest.mark.spec("I6", "I3")
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_committed_reading_is_lost_and_no_row_sent_under_two_keys_by_kill_9(
    tmp_path: Path, seed: int
) -> None:
    with gateway(tmp_path) as broker:
        agent = Agent.told(broker, free_port(), window_s=0)
        probes = Probes(agent.port, SENSORS, SystemClock().now_ms() - 3_600_000)
        async with cloud(broker, FakeCloud()) as store:
            with killed_at_the_end(agent):
                agent.start()
                async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
                    tasks.create_task(_kill_now_and_then(agent, seed))
                    await probes.run(READINGS)
                sent = {(one, at_ms) for one, times in probes.sent.items() for at_ms in times}
                assert probes.announced() == sent
                await until(lambda: sent <= store.rows.keys(), within_s=30)
                await until(agent.listens, within_s=30)  # before, a signal just ends it
                assert agent.stop() == 0
    assert store.rows.keys() == sent, "nothing stored that was not sent"
    assert all(len(keys) == 1 for keys in store.rows.values()), "no row under two keys"
    assert all(len(crcs) == 1 for crcs in store.contents.values()), "a sealed batch never changes"
