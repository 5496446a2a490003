"""The application: routes over neighbours, guarded, every failure a problem."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp

from cloud.api.alerts import alert_routes
from cloud.api.dead_letters import dead_letter_routes
from cloud.api.guard import Guard
from cloud.api.problem import Problem, install
from cloud.api.sensors import sensor_routes
from cloud.api.shapes import Sites
from cloud.api.sites import site_routes
from cloud.api.status import status_routes
from cloud.read.dead_letters import LetterReader
from cloud.read.feed import Feed
from cloud.read.ports import AlertReader, GapReader, Overview, ReadingReader
from wire.clock import Clock

_DESCRIPTION: Final = """Water quality from probe to alert: readings, alerts, sites and gaps.

**There is no sign-in yet, so this API listens on the loopback interface only** and answers only
requests addressed to `localhost`, `127.0.0.1` or `[::1]`. Times are ISO 8601 in UTC; identifiers
wider than 53 bits are text; every error is problem+json (RFC 9457). Live alerts are pushed on the
WebSocket `/api/ws/alerts`: first `{"type":"snapshot","alerts":[...]}`, then
`{"type":"alert","alert":{...}}` whenever one changes; the same change may come twice.
"""
_TAGS: Final = [
    {"name": "sensors", "description": "readings"},
    {"name": "alerts", "description": "what needs somebody"},
    {"name": "sites", "description": "where water is watched"},
    {"name": "gaps", "description": "what is missing, since when and why"},
    {"name": "dead letters", "description": "what no retry can help, and what was decided"},
    {"name": "status", "description": "the platform's own state"},
]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Everything the API asks.

    Attributes:
        readings: Readings by key.
        alerts: Alerts, read.
        feed: Alerts, pushed.
        gaps: What is missing.
        letters: What could not be stored.
        overview: The platform at a glance.
        exposition: Every process's metrics in Prometheus' text form.
        clock: Time.
    """

    readings: ReadingReader
    alerts: AlertReader
    feed: Feed
    gaps: GapReader
    letters: LetterReader
    overview: Overview
    exposition: Callable[[], bytes]
    clock: Clock


def application(neighbours: Neighbours) -> ASGIApp:
    """Return the whole API."""
    app = FastAPI(
        title="Headgate",
        version=version("headgate"),
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    install(app)
    app.include_router(sensor_routes(neighbours.readings, neighbours.clock))
    app.include_router(alert_routes(neighbours.alerts, neighbours.feed))
    app.include_router(site_routes(neighbours.overview, neighbours.gaps))
    app.include_router(dead_letter_routes(neighbours.letters))
    app.include_router(status_routes(neighbours.overview, neighbours.exposition))
    app.add_api_route("/", _index, include_in_schema=False)
    _describe(app)
    return Guard(app)


async def _index() -> Response:
    return Response(b'{"openapi":"/openapi.json"}', media_type="application/json")


def _describe(app: FastAPI) -> None:
    """Name the shapes that are not JSON answers, and what a wrong parameter is answered with."""
    described: dict[str, Any] = app.openapi()
    schemas = described["components"]["schemas"]
    for shape in (Problem, Sites):
        schema = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[shape.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
