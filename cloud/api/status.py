"""Is it well: for people (status), for supervisors (livez, readyz), for Prometheus (metrics)."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from cloud.api.problem import away, documented
from cloud.api.shapes import Live, Status
from cloud.read.metrics import families
from cloud.read.ports import Overview
from cloud.read.status import judge
from cloud.read.text import dump
from wire.errors import InfrastructureError

_STATUS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Status},
    503: {"model": Status, "description": "The database is away; this process lives"},
}
_LIVE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Live}}
_READY: Final[dict[int | str, dict[str, Any]]] = {200: {"model": Live}, **documented(503)}
_METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"example": 'headgate_hubs{online="true"} 2.0\n'}}},
}


def status_routes(overview: Overview, exposition: Callable[[], bytes]) -> APIRouter:
    """Return the routes of the platform's own state.

    Args:
        overview: The store's view.
        exposition: Every process's own metrics in Prometheus' text form.
    """
    router = APIRouter(tags=["status"])

    @router.get("/api/status", operation_id="getStatus", responses=_STATUS)
    async def status() -> Response:
        """Return the platform in three words."""
        try:
            workers = await overview.workers()
        except InfrastructureError:
            body = {"status": "unhealthy", "db": "disconnected", "workers": "unknown"}
            return Response(dump(body), 503, media_type="application/json")
        return Response(dump(judge(workers)), media_type="application/json")

    @router.get("/livez", operation_id="isLive", responses=_LIVE)
    async def livez() -> Response:
        """Return 200 while this process answers at all."""
        return Response(b'{"status":"live"}', media_type="application/json")

    @router.get("/readyz", operation_id="isReady", responses=_READY)
    async def readyz() -> Response:
        """Return 200 while the database answers too; stages that hang are for ``/api/status``."""
        try:
            await overview.ping()
        except InfrastructureError:
            return away("/readyz")
        return Response(b'{"status":"ready"}', media_type="application/json")

    @router.get("/metrics", operation_id="getMetrics", responses=_METRICS, response_class=Response)
    async def metrics() -> Response:
        """Return every process's metrics, and what the database adds while it answers."""
        body = exposition()
        try:
            body += families(await overview.figures())
        except InfrastructureError:
            body += families([("database_up", {}, 0.0)])
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
