"""Word of alerts as they commit: PostgreSQL's LISTEN, mended whenever it breaks."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import structlog

from cloud.adapters.postgres.pool import Connection, connect, translated
from cloud.core.views import Again, Changed, News
from wire.clock import Clock
from wire.errors import InfrastructureError

CHANNEL: Final = "alerts"
NEWS_MAX: Final = 10_000
_PROBE_AFTER_S: Final = 5.0
_PROBE_TIMEOUT_S: Final = 5.0
_RETRY_MS: Final = 500
_log = structlog.get_logger(__name__)


class _Heard:
    """What the connection's callbacks have put aside for us."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.something = asyncio.Event()
        self.alert_ids: set[int] = set()
        self.overflowed = False

    def notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        """Keep an alert's id; what cannot be read counts as something missed."""
        try:
            alert_id = json.loads(str(payload))["alert_id"]
        except (ValueError, TypeError, KeyError):
            alert_id = None
        if type(alert_id) is int and len(self.alert_ids) < NEWS_MAX:
            self.alert_ids.add(alert_id)
        else:
            self.overflowed = True
        self.something.set()

    def ended(self, _connection: object) -> None:
        """Wake the reader so that it finds the connection closed."""
        self.something.set()

    def take(self) -> News | None:
        """Return what was heard since the last call."""
        self.something.clear()
        alert_ids, self.alert_ids = frozenset(self.alert_ids), set()
        if self.overflowed:
            self.overflowed = False
            return Again()
        return Changed(alert_ids) if alert_ids else None


class Notifications:
    """See ``cloud.read.ports.AlertNews``."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Take the address of the database."""
        self._url = url
        self._clock = clock

    async def listen(self) -> AsyncIterator[News]:
        """See ``AlertNews``."""
        while True:
            try:
                async with connect(self._url) as connection:
                    async for news in _until_broken(connection):
                        yield news
            except InfrastructureError as exc:
                _log.warning("not listening", why=str(exc))
            await self._clock.sleep_ms(_RETRY_MS)


async def _until_broken(connection: Connection) -> AsyncIterator[News]:
    """Yield news until the connection ends or no longer answers.

    Raises:
        InfrastructureError: It broke.
    """
    heard = _Heard()
    connection.add_termination_listener(heard.ended)
    with translated():
        await connection.execute("set application_name = 'headgate-api-listen'")
        await connection.add_listener(CHANNEL, heard.notified)
    yield Again()
    while not connection.is_closed():
        if news := heard.take():
            yield news
            continue
        await _wait(heard, connection)


async def _wait(heard: _Heard, connection: Connection) -> None:
    """Return when something was heard; a silent connection is asked whether it lives."""
    try:
        async with asyncio.timeout(_PROBE_AFTER_S):
            await heard.something.wait()
    except TimeoutError:
        with translated():
            await connection.fetchval("select 1", timeout=_PROBE_TIMEOUT_S)
