"""What every door says of itself: whether it is alive, and whether it has a way to the store."""

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.doors.http_body import Refused, problem
from gateway.doors.http_courier import Courier

AWAY = "there is no way to the store just now; nothing was taken"


def add_health(app: FastAPI, courier: Courier) -> None:
    """Let an application answer ``/livez`` and ``/readyz``."""

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        if courier.is_open:
            return Response(b'{"status":"ready"}', media_type="application/json")
        return problem(Refused(503, AWAY, 1))


def health(courier: Courier) -> ASGIApp:
    """Return an application for a door that takes nothing by HTTP."""
    app = FastAPI(title="Headgate door", docs_url=None, redoc_url=None, openapi_url=None)
    add_health(app, courier)
    return app
