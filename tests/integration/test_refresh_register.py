"""What hubs say of themselves, in a real PostgreSQL, from real messages."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cloud.adapters.postgres.gaps import Gaps
from cloud.adapters.postgres.pool import Pool, pool
from cloud.adapters.postgres.refresh import Register
from cloud.core.gaps import Cause, explain
from cloud.core.ledger import EPOCHS_PER_HUB_HOUR_MAX
from cloud.refresh.service import Refresh
from cloud.steps import Steps
from tests.support.api import add_ledger, connected
from wire.clock import SystemClock
from wire.control import Health, encode_health
from wire.ids import Epoch, HubId, Region, UnixMs
from wire.limits import EPOCHS_PER_HELLO_MAX
from wire.topics import Channel, topic

HUB, NORTH = HubId("hub-1"), Region("north")
NOW_MS = 1_795_000_000_000


def health(at_ms: int = NOW_MS, **changed: Any) -> Health:
    fields = {"online": True, "version": "1", "epochs": ((Epoch(7), 5),), "clock_trusted": True}
    return Health(**{**fields, "at_ms": UnixMs(at_ms), **changed})


class Letter:
    """A delivery in memory."""

    def __init__(self, channel: Channel, body: bytes) -> None:
        self.topic = topic(NORTH, HUB, channel)
        self.body = body
        self.received_at_ms = UnixMs(NOW_MS)
        self.acknowledged = False

    async def ack(self) -> None:
        self.acknowledged = True


class Post:
    """An inbox in memory."""

    def __init__(self, *letters: Letter) -> None:
        self.letters = letters

    async def deliveries(self) -> AsyncIterator[Sequence[Letter]]:
        yield self.letters


async def tell(opened: Pool, *said: tuple[Channel, Health]) -> None:
    letters = [Letter(channel, encode_health(each)) for channel, each in said]
    await Refresh(Post(*letters), Register(opened), Steps(SystemClock())).run()
    assert all(letter.acknowledged for letter in letters)


async def hub(opened: Pool) -> dict[str, Any]:
    row = await opened.fetchrow("select * from hubs where hub_id = $1", HUB)
    assert row is not None
    return dict(row)


async def causes(opened: Pool) -> list[tuple[int, int, Cause]]:
    holes = await Gaps(opened).holes(HUB, (HubId(""), Epoch(-1), -1), 100)
    return [part for hole in holes for part in explain(hole)]


async def test_a_birth_a_health_and_a_will_are_told_apart(database_url: str) -> None:
    async with pool(database_url) as opened:
        birth = health()
        await tell(opened, (Channel.STATUS, birth))
        assert (await hub(opened))["online"]
        await tell(opened, (Channel.HEALTH, health(NOW_MS + 60_000, gauges={"spool_batches": 3})))
        will = health(online=False)
        await tell(opened, (Channel.STATUS, will))
        gone = await hub(opened)
        assert not gone["online"]
        assert json.loads(gone["gauges"]) == {"spool_batches": 3}


async def test_a_will_of_an_earlier_connection_does_not_bury_the_hub(database_url: str) -> None:
    async with pool(database_url) as opened:
        await tell(
            opened,
            (Channel.STATUS, health()),
            (Channel.STATUS, health(NOW_MS + 1)),
            (Channel.STATUS, health(online=False)),
        )
        assert (await hub(opened))["online"]


async def test_a_hub_met_by_its_will_only_is_known_as_gone(database_url: str) -> None:
    async with pool(database_url) as opened:
        await tell(opened, (Channel.STATUS, health(online=False)))
        assert not (await hub(opened))["online"]


async def test_older_news_changes_nothing_unless_its_clock_was_wrong(database_url: str) -> None:
    async with pool(database_url) as opened:
        await tell(opened, (Channel.HEALTH, health(version="new")))
        await tell(opened, (Channel.HEALTH, health(NOW_MS - 1, version="old")))
        assert (await hub(opened))["version"] == "new"
        far = health(NOW_MS + 10**12, version="astray", clock_trusted=False)
        await tell(opened, (Channel.HEALTH, far))
        await tell(opened, (Channel.HEALTH, health(NOW_MS, version="back")))
        assert (await hub(opened))["version"] == "back"


async def test_an_announced_tail_that_never_came_is_a_gap(database_url: str) -> None:
    async with connected(database_url) as database, pool(database_url) as opened:
        await tell(opened, (Channel.HEALTH, health(gauges={"spool_batches": 5})))
        assert await causes(opened) == [(0, 5, Cause.HELD)]
        await database.execute("update hub_ledger set received = '{[0,3)}', next_sequence = 6")
        assert await causes(opened) == [(3, 5, Cause.HELD), (5, 6, Cause.PENDING)]
        await tell(opened, (Channel.HEALTH, health(NOW_MS + 1, gauges={"spool_batches": 0})))
        assert await causes(opened) == [(3, 5, Cause.LOST), (5, 6, Cause.PENDING)]


async def test_a_life_the_hub_no_longer_holds_is_lost(database_url: str) -> None:
    async with connected(database_url) as database, pool(database_url) as opened:
        await add_ledger(database, "{[0,3)}", 9, epoch=6)
        assert await causes(opened) == [(3, 9, Cause.PENDING)]
        await tell(opened, (Channel.HEALTH, health(epochs=((Epoch(7), 0),))))
        assert await causes(opened) == [(3, 9, Cause.LOST)]


async def test_a_list_of_lives_that_may_be_cut_short_proves_nothing(database_url: str) -> None:
    async with connected(database_url) as database, pool(database_url) as opened:
        await add_ledger(database, "{[0,3)}", 9, epoch=6)
        full = tuple((Epoch(100 + n), 0) for n in range(EPOCHS_PER_HELLO_MAX))
        await tell(opened, (Channel.HEALTH, health(epochs=full)))
        assert len(json.loads((await hub(opened))["epochs"])) == EPOCHS_PER_HELLO_MAX
        assert await causes(opened) == [(3, 9, Cause.PENDING)]


async def test_announcements_only_raise_the_ledger(database_url: str) -> None:
    async with pool(database_url) as opened:
        for next_sequence in (5, 3, 8):
            said = health(NOW_MS + next_sequence, epochs=((Epoch(7), next_sequence),))
            await tell(opened, (Channel.HEALTH, said))
        assert await opened.fetchval("select next_sequence from hub_ledger") == 8


@pytest.mark.spec("I5")
async def test_a_hub_that_invents_lives_is_believed_so_many_an_hour(database_url: str) -> None:
    async with pool(database_url) as opened:
        for start in range(0, 640, EPOCHS_PER_HELLO_MAX):
            lives = tuple((Epoch(start + n), 1) for n in range(EPOCHS_PER_HELLO_MAX))
            await tell(opened, (Channel.HEALTH, health(NOW_MS + start, epochs=lives)))
        kept = await opened.fetchval("select count(*) from hub_ledger")
        assert EPOCHS_PER_HUB_HOUR_MAX <= kept < EPOCHS_PER_HUB_HOUR_MAX + EPOCHS_PER_HELLO_MAX


async def test_what_cannot_be_read_is_passed_over(database_url: str) -> None:
    async with pool(database_url) as opened:
        broken = Letter(Channel.HEALTH, b"\xff" * 10)
        good = Letter(Channel.HEALTH, encode_health(health()))
        await Refresh(Post(broken, good), Register(opened), Steps(SystemClock())).run()
        assert broken.acknowledged
        assert (await hub(opened))["online"]
