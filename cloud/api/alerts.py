"""Alerts: asked for, or pushed as they commit."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, HTTPException, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response

from cloud.api.limits import SEND_TIMEOUT_S
from cloud.api.pages import linked
from cloud.api.params import DEFAULT_ROWS, AlertPath, Before, Region, RowLimit
from cloud.api.problem import documented
from cloud.api.shapes import Alert, AlertList
from cloud.read.alerts import as_alert
from cloud.read.feed import ALERT_ID_MAX, Client, Feed, TooManyClientsError
from cloud.read.ports import AlertReader
from cloud.read.text import dump
from wire.errors import InfrastructureError

State = Annotated[
    Literal["active", "all"], Query(examples=["all"], description="active: not yet resolved")
]

_TRY_AGAIN_LATER: Final = 1013
_LIST: Final[dict[int | str, dict[str, Any]]] = {200: {"model": AlertList}, **documented(422, 503)}
_ONE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Alert}, **documented(404, 422, 503)}
_log = structlog.get_logger(__name__)


def alert_routes(alerts: AlertReader, feed: Feed) -> APIRouter:
    """Return the routes under ``/api/alerts`` and the feed ``/api/ws/alerts``."""
    router = APIRouter(prefix="/api", tags=["alerts"])

    @router.get("/alerts", operation_id="listAlerts", responses=_LIST)
    async def page(
        request: Request,
        region: Region = None,
        state: State = "active",
        limit: RowLimit = DEFAULT_ROWS,
        before: Before = ALERT_ID_MAX,
    ) -> Response:
        """Return alerts, newest first; the next page is in the Link header."""
        rows = await alerts.page(region, active=state == "active", before=before, limit=limit)
        cursor = {"before": rows[-1]["alert_id"]} if len(rows) == limit else None
        return linked(request, {"alerts": [as_alert(row) for row in rows]}, cursor)

    @router.get("/alerts/{alert_id}", operation_id="getAlert", responses=_ONE)
    async def one(alert_id: AlertPath) -> Response:
        """Return one alert with its explanation and what each hop took."""
        rows = await alerts.these([alert_id])
        if not rows:
            raise HTTPException(404, f"no alert {alert_id}")
        return Response(dump(as_alert(rows[0])), media_type="application/json")

    @router.websocket("/ws/alerts")
    async def push(socket: WebSocket) -> None:
        """Send the open alerts, then each alert whenever it changes, as it commits."""
        await socket.accept()
        try:
            with feed.client() as client:
                await _serve(socket, feed, client)
        except (TooManyClientsError, InfrastructureError) as exc:
            _log.warning("live client refused", why=str(exc))
        with suppress(RuntimeError, WebSocketDisconnect):  # it may be gone already
            await socket.close(_TRY_AGAIN_LATER)

    return router


async def _serve(socket: WebSocket, feed: Feed, client: Client) -> None:
    """Send until the client leaves or falls too far behind.

    Raises:
        InfrastructureError: The open alerts could not be read.
    """
    snapshot = await feed.snapshot()
    async with asyncio.TaskGroup() as group:
        listener = group.create_task(_until_gone(socket, client), name="live-client")
        try:
            await _send(socket, snapshot)
            async for message in client.messages():
                await _send(socket, message)
        except (TimeoutError, WebSocketDisconnect):
            client.leave()
        listener.cancel()


async def _send(socket: WebSocket, message: str) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await socket.send_text(message)


async def _until_gone(socket: WebSocket, client: Client) -> None:
    """Wait for the client to leave; whatever else it says is not heard."""
    with suppress(WebSocketDisconnect):
        while True:
            await socket.receive_text()
    client.leave()
