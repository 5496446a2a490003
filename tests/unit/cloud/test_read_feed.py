"""The feed: everybody hears every alert, nobody holds up anybody."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime

import pytest

from cloud.core.views import Again, Changed, News, Row
from cloud.read.feed import Feed, TooManyClientsError
from cloud.read.limits import CLIENT_QUEUE_MAX, CLIENTS_MAX
from tests.support.wait import until
from wire.errors import InfrastructureError
from wire.ids import UnixMs

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
_NONE = ("hub_id", "region", "site_id", "site", "acknowledged_at", "resolved_at")
_TIMES = ("observed_at", "last_observed_at", "opened_at", "received_at", "stored_at", "found_at")


def alert(alert_id: int) -> Row:
    row = dict.fromkeys(_NONE) | dict.fromkeys(_TIMES, NOON)
    row |= {"kind": "contamination", "cause": "ph_high", "metric": "ph_level", "explanation": {}}
    return row | {
        "alert_id": alert_id,
        "sensor_id": 1,
        "severity": 3,
        "historical": False,
        "resolved": False,
        "findings": 1,
    }


class Clock:
    def now_ms(self) -> UnixMs:
        return UnixMs(1_700_000_000_000)

    def steady_ms(self) -> int:
        return 0

    async def sleep_ms(self, wait_ms: int) -> None:
        await asyncio.sleep(0)


class Book:
    """Alerts in memory; fails as often as it is told to."""

    def __init__(self) -> None:
        self.alerts: dict[int, Row] = {}
        self.failures = 0

    async def page(
        self, region: str | None, *, active: bool, before: int, limit: int
    ) -> Sequence[Row]:
        return sorted(self.alerts.values(), key=lambda row: -row["alert_id"])[:limit]

    async def these(self, alert_ids: Collection[int]) -> Sequence[Row]:
        if self.failures:
            self.failures -= 1
            raise InfrastructureError("away")
        return [self.alerts[each] for each in sorted(alert_ids, reverse=True)]

    async def changed(self, since: datetime, limit: int) -> Sequence[Row]:
        return await self.these(self.alerts)


class Wire:
    """News in memory."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[News] = asyncio.Queue()

    async def listen(self) -> AsyncIterator[News]:
        yield Again()
        while True:
            yield await self.news.get()


async def test_an_alert_that_could_not_be_read_is_told_once_the_store_is_back() -> None:
    book, wire = Book(), Wire()
    feed = Feed(book, wire, Clock())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(feed.run())
        with feed.client() as client:
            book.alerts[7], book.failures = alert(7), 3
            wire.news.put_nowait(Changed(frozenset({7})))
            async with asyncio.timeout(5):
                message = json.loads(await anext(client.messages()))
            assert message["alert"]["alert_id"] == "7"
        running.cancel()


async def test_a_client_that_falls_behind_is_dropped_and_the_others_hear_everything() -> None:
    book, wire = Book(), Wire()
    feed = Feed(book, wire, Clock())
    heard: list[str] = []

    async def listen_well() -> None:
        with feed.client() as client:
            async for message in client.messages():
                heard.append(json.loads(message)["alert"]["alert_id"])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed.run()), group.create_task(listen_well())]
        with feed.client() as slow:
            await until(lambda: len(feed) == 2)
            for number in range(CLIENT_QUEUE_MAX + 1):
                book.alerts[number] = alert(number)
                wire.news.put_nowait(Changed(frozenset({number})))
                await until(functools.partial(heard.__contains__, str(number)), poll_s=0)
            assert slow.dropped
            assert [message async for message in slow.messages()] == []
        for task in tasks:
            task.cancel()
    assert list(dict.fromkeys(heard)) == [str(each) for each in range(CLIENT_QUEUE_MAX + 1)]


async def test_the_number_of_clients_is_bounded_and_places_come_free() -> None:
    feed = Feed(Book(), Wire(), Clock())
    places = [feed.client() for _ in range(CLIENTS_MAX)]
    for place in places:
        place.__enter__()
    with pytest.raises(TooManyClientsError), feed.client():
        pass
    places[0].__exit__(None, None, None)
    with feed.client():
        assert len(feed) == CLIENTS_MAX
