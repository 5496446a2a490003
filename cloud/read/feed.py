"""Alerts to live clients as they commit: read once, told to everybody, waiting for nobody."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from cloud.core.views import Again, News, Row, instant_of
from cloud.read.alerts import as_alert
from cloud.read.limits import (
    CHANGES_MAX,
    CLIENT_QUEUE_MAX,
    CLIENTS_MAX,
    NEWS_MARGIN_MS,
    ROWS_PER_PAGE,
)
from cloud.read.ports import AlertNews, AlertReader
from cloud.read.text import dump
from wire.clock import Clock
from wire.errors import HeadgateError, InfrastructureError
from wire.ids import UnixMs

ALERT_ID_MAX: Final = 2**63 - 1
_RETRY_MS: Final = 1_000
_log = structlog.get_logger(__name__)


class TooManyClientsError(HeadgateError):
    """Nobody more can listen here just now."""

    retryable = True


class Client:
    """One live client's share of the feed."""

    def __init__(self) -> None:
        """Start with nothing to say."""
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue(CLIENT_QUEUE_MAX + 1)
        self.dropped = False
        """Whether it fell behind or left."""

    def offer(self, message: str) -> None:
        """Queue a message; a client too far behind is dropped and hears no more."""
        if self._waiting.qsize() >= CLIENT_QUEUE_MAX:
            self.leave()
        elif not self.dropped:
            self._waiting.put_nowait(message)

    def leave(self) -> None:
        """End ``messages``. Idempotent."""
        if not self.dropped:
            self.dropped = True
            self._waiting.put_nowait(None)

    async def messages(self) -> AsyncIterator[str]:
        """Yield each message in order; end once the client is dropped or gone."""
        while not self.dropped and (message := await self._waiting.get()) is not None:
            yield message


class Feed:
    """Every live client of this process, and the one reader that feeds them."""

    def __init__(self, alerts: AlertReader, news: AlertNews, clock: Clock) -> None:
        """Start without clients."""
        self._alerts = alerts
        self._news = news
        self._clock = clock
        self._clients: set[Client] = set()
        self._told_ms = clock.now_ms()

    def __len__(self) -> int:
        """Return how many clients listen."""
        return len(self._clients)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Lend a place at the feed.

        Raises:
            TooManyClientsError: All ``CLIENTS_MAX`` are taken.
        """
        if len(self._clients) >= CLIENTS_MAX:
            raise TooManyClientsError(f"{CLIENTS_MAX} clients listen already")
        client = Client()
        self._clients.add(client)
        try:
            yield client
        finally:
            self._clients.discard(client)

    async def snapshot(self) -> str:
        """Return the open alerts, newest first, as a client's first message.

        Raises:
            InfrastructureError: The store is away.
        """
        rows = await self._alerts.page(None, active=True, before=ALERT_ID_MAX, limit=ROWS_PER_PAGE)
        return dump({"type": "snapshot", "alerts": [as_alert(row) for row in rows]}).decode()

    async def run(self) -> None:
        """Tell clients of alerts until cancelled. What could not be read is read again."""
        async for news in self._news.listen():
            owed: News | None = news
            while owed is not None:
                owed = await self._tell(owed)

    async def _tell(self, news: News) -> News | None:
        """Read and pass on; return what is still owed after a failure."""
        began_ms = self._clock.now_ms()
        try:
            rows = await self._rows(news)
        except InfrastructureError as exc:
            _log.warning("alerts unread", why=str(exc))
            await self._clock.sleep_ms(_RETRY_MS)
            return Again()
        self._told_ms = began_ms
        for row in reversed(rows):
            message = dump({"type": "alert", "alert": as_alert(row)}).decode()
            for client in self._clients:
                client.offer(message)
        return None

    async def _rows(self, news: News) -> Sequence[Row]:
        if isinstance(news, Again):
            since = instant_of(UnixMs(self._told_ms - NEWS_MARGIN_MS))
            return await self._alerts.changed(since, CHANGES_MAX)
        return await self._alerts.these(news.alert_ids)
