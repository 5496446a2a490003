"""Laws of coming back: a fleet whose broker died spreads out, a hub alone is quick."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.core.outbox import Outbox
from edge_agent.forward import BACKOFF_MS, BACKOFF_MS_MAX, CROWD_MS, NOBODY_TIMES, Forward, pause_ms
from edge_agent.ports import Link, LinkLostError, NobodyThereError
from tests.support import virtual_time
from tests.support.builders import NOON
from tests.support.uplink import MemoryStore, at_once
from wire.control import Health
from wire.ids import Epoch
from wire.topics import Channel

HUBS = 150
BACK_WITHIN_S = 60
A_SECOND_MAX = 12  # evenly they are 5; by chance some come together
chances = st.floats(0, 1)
counts = st.integers(0, 100)


class Shore:
    """A broker that lives, dies and lives again, and remembers who came when."""

    def __init__(self) -> None:
        self.serves = asyncio.Event()
        self.died = asyncio.Event()
        self.came_s: list[float] = []

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator[Link]:
        if not self.serves.is_set():
            raise NobodyThereError("refused")
        self.came_s.append(asyncio.get_running_loop().time())
        yield self

    async def publish(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        assert self.serves.is_set()

    async def incoming(self) -> AsyncIterator[tuple[Channel, bytes]]:
        await self.died.wait()
        raise LinkLostError("died")
        yield Channel.RECEIPT, b""


def a_hub(shore: Shore, seed: int) -> Forward:
    clock = virtual_time.VirtualClock(NOON)

    async def report() -> Health:
        return Health(True, "1", (), True, clock.now_ms())

    return Forward(
        store=MemoryStore(Epoch(seed)),
        in_turn=at_once,
        uplink=shore,
        outbox=Outbox(Epoch(seed)),
        store_id=UUID(int=1),
        report=report,
        heard_time=lambda _: None,
        clock=clock,
        chance=random.Random(seed).random,
    )


@pytest.mark.parametrize("away_s", [12, 45])
def test_a_fleet_whose_broker_died_is_back_in_a_minute_and_never_all_at_once(away_s: float) -> None:
    async def main() -> None:
        shore = Shore()
        async with asyncio.TaskGroup() as tasks:
            hubs = [tasks.create_task(a_hub(shore, seed).run()) for seed in range(HUBS)]
            shore.serves.set()
            await asyncio.sleep(15)
            shore.serves.clear()
            shore.died.set()
            await asyncio.sleep(away_s)
            shore.died.clear()
            shore.came_s.clear()
            shore.serves.set()
            served_s = asyncio.get_running_loop().time()
            await asyncio.sleep(BACK_WITHIN_S)
            for hub in hubs:
                hub.cancel()
        a_second = Counter(int(each - served_s) for each in shore.came_s)
        assert len(shore.came_s) == HUBS
        assert max(a_second.values()) <= A_SECOND_MAX

    virtual_time.run(main())


@given(counts, st.integers(0, NOBODY_TIMES - 1), chances)
def test_a_hub_that_may_find_another_node_is_quick_and_jitters_fully(
    failures: int, nobody: int, chance: float
) -> None:
    longest_ms = min(BACKOFF_MS * 2**failures, BACKOFF_MS_MAX)
    assert pause_ms(failures, nobody, chance) == round(chance * longest_ms)


@given(counts, st.integers(NOBODY_TIMES, 1_000), chances)
def test_where_no_broker_runs_every_pause_lies_in_the_crowds(
    failures: int, nobody: int, chance: float
) -> None:
    shortest_ms, longest_ms = CROWD_MS
    assert shortest_ms <= pause_ms(failures, nobody, chance) <= longest_ms < BACK_WITHIN_S * 1_000
