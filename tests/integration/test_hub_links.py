"""A real agent on bad links and beside wrong stores: late, never lost, never doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from edge_agent.core.outbox import WINDOW_MAX
from headgate.prove.link import Link, linked
from tests.support.agent import Agent, FakeCloud, Probes, cloud, healths, killed_at_the_end
from tests.support.gateway import Gateway, gateway
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.clock import SystemClock
from wire.control import Health
from wire.topics import Channel

pytestmark = pytest.mark.spec("I6")


@dataclass
class River:
    """An agent whose uplink goes through a link that misbehaves."""

    gateway: Gateway
    agent: Agent
    link: Link
    store: FakeCloud

    async def send(self, readings: int, sensors: range = range(1, 6)) -> set[tuple[int, int]]:
        """Let sensors send until all is committed on the hub; return what they sent."""
        probes = Probes(self.agent.port, sensors, SystemClock().now_ms() - 3_600_000)
        async with asyncio.timeout(40):
            await probes.run(readings)
        return probes.announced()

    async def connected(self, times: int = 1) -> None:
        """Wait until the hub has said hello so often."""
        await until(lambda: self.store.hellos >= times, within_s=30)

    async def stored(self, sent: set[tuple[int, int]], within_s: float = 45) -> None:
        """Wait until the cloud has it."""
        await until(lambda: sent <= self.store.rows.keys(), within_s=within_s)


@asynccontextmanager
async def a_river(folder: Path, store: FakeCloud) -> AsyncIterator[River]:
    with gateway(folder) as broker:
        async with linked(broker.port) as link, cloud(broker, store):
            agent = Agent.told(broker, free_port(), uplink_port=link.port, window_s=0)
            with killed_at_the_end(agent):
                agent.start()
                await until(agent.listens, within_s=30)
                yield River(broker, agent, link, store)


async def test_cut_links_lose_and_double_nothing(tmp_path: Path) -> None:
    async with a_river(tmp_path, FakeCloud()) as river:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(river.send(60))
            for lives in range(1, 4):
                await river.connected(lives)
                river.link.cut()
        await river.stored(sending.result())
        assert river.store.rows.keys() == sending.result()
        assert all(len(keys) == 1 for keys in river.store.rows.values())
        assert all(len(crcs) == 1 for crcs in river.store.contents.values())


@pytest.mark.parametrize("kind", ["black hole", "half open"])
async def test_a_link_that_swallows_everything_is_noticed_and_left(
    tmp_path: Path, kind: str
) -> None:
    async with a_river(tmp_path, FakeCloud()) as river:
        await river.connected()
        if kind == "half open":
            river.link.half_open()
        else:
            river.link.black_hole = True
        sent = await river.send(20)
        assert not river.store.rows.keys() & sent
        await until(lambda: "uplink lost" in river.agent.log, within_s=40)
        river.link.black_hole = False
        await river.stored(sent)


async def test_a_slow_link_is_filled_by_many_batches_at_once(tmp_path: Path) -> None:
    async with a_river(tmp_path, FakeCloud()) as river:
        await river.connected()
        river.link.delay_s = 0.5
        sent = await river.send(40)
        await river.stored(sent)
        assert len(river.store.contents) < WINDOW_MAX
        assert river.store.repeats == 0


async def test_receipts_of_a_second_store_let_the_hub_forget_nothing(tmp_path: Path) -> None:
    scratch = FakeCloud(store_id=UUID(int=7))
    async with a_river(tmp_path, scratch) as river:
        sent = await river.send(10)
        await river.stored(sent)
        await until(lambda: "receipt of another store" in river.agent.log, within_s=10)
        assert river.agent.stop() == 0
        scratch.rows.clear()
        scratch.store_id = FakeCloud.store_id
        scratch.received.clear()
        river.agent.start()
        await river.stored(sent)


async def test_the_hub_is_born_lives_and_its_will_is_told(tmp_path: Path) -> None:
    told: list[tuple[Channel, Health]] = []
    async with a_river(tmp_path, FakeCloud()) as river, asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(healths(river.gateway, told))
        await until(lambda: any(h.online for c, h in told if c is Channel.STATUS), within_s=30)
        await river.send(5)
        await until(lambda: any(c is Channel.HEALTH for c, _ in told), within_s=30)
        river.link.cut()
        await until(lambda: any(not h.online for _, h in told), within_s=30)
        listening.cancel()
    health = next(h for c, h in told if c is Channel.HEALTH)
    assert len(health.epochs) == 1
    assert health.clock_trusted
    assert health.gauges["disk_free_bytes"] > 0
