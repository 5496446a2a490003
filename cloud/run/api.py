"""The API's process."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import uvicorn
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cloud.adapters.postgres.dead_letters import LetterReads
from cloud.adapters.postgres.gaps import Gaps
from cloud.adapters.postgres.listen import Notifications
from cloud.adapters.postgres.read import Reader
from cloud.adapters.postgres.read_alerts import Alerts
from cloud.adapters.postgres.read_pool import read_pool
from cloud.api.app import Neighbours, application
from cloud.api.bind import listening, loopback
from cloud.api.limits import CONNECTIONS_MAX, WEBSOCKET_BYTES_MAX
from cloud.read.feed import Feed
from cloud.settings import ApiSettings
from wire.clock import SystemClock

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals: its owner cancels it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def run_api(settings: ApiSettings) -> None:
    """Serve until cancelled; the database may come and go.

    Raises:
        OperatorError: The address is not loopback, or taken.
    """
    host, port = loopback(settings.api_bind)
    clock = SystemClock()
    with listening(host, port) as listener:
        async with read_pool(
            settings.database_url, name="headgate-api-0", connections_max=CONNECTIONS_MAX
        ) as pool:
            reader, alerts = Reader(pool), Alerts(pool)
            feed = Feed(alerts, Notifications(settings.database_url, clock), clock)
            exposition = _exposition(settings.prometheus_multiproc_dir)
            neighbours = Neighbours(
                reader, alerts, feed, Gaps(pool), LetterReads(pool), reader, exposition, clock
            )
            server = _Server(
                uvicorn.Config(
                    application(neighbours),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    ws="websockets-sansio",
                    ws_max_size=WEBSOCKET_BYTES_MAX,
                    server_header=False,
                    timeout_graceful_shutdown=2,
                )
            )
            _log.info(
                "serving, loopback only: there is no sign-in yet", url=f"http://{host}:{port}"
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(feed.run(), name="feed")
                group.create_task(_serve(server, listener), name="uvicorn")


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until cancelled; then let go of every client."""
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        if server.started:
            await server.shutdown(sockets=[listener])
        raise


def _exposition(folder: Path | None) -> Callable[[], bytes]:
    """Return what reads the metrics: every process's in ``folder``, else only our own."""
    if folder is None:
        return lambda: generate_latest(REGISTRY)

    def every_process() -> bytes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    return every_process
