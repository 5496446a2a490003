"""A sensor's newest reading, and its history."""

from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, HTTPException, Query, Request
from starlette.responses import Response

from cloud.api.limits import CACHE_MAX_AGE_S
from cloud.api.pages import next_link
from cloud.api.params import (
    DEFAULT_READINGS,
    From,
    ReadingLimit,
    SensorPath,
    SensorQuery,
    To,
)
from cloud.api.problem import documented
from cloud.api.shapes import History, Latest
from cloud.core.views import instant_of
from cloud.read import latest as newest
from cloud.read.history import Form, history
from cloud.read.ports import ReadingReader
from wire.clock import Clock
from wire.ids import SensorId

IfNoneMatch = Annotated[
    str | None, Header(examples=['"1738065600000"'], description="the ETag you have")
]
Format = Annotated[
    Form | None,
    Query(alias="format", examples=[Form.CSV], description="default: by Accept"),
]

_DAY: Final = timedelta(days=1)
_CSV: Final = "timestamp,ph_level,...,quality,score,samples\n2025-01-28T12:00:00Z,7.1,...,,,10\n"
_HISTORY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": History, "content": {"text/csv": {"example": _CSV}}},
    **documented(404, 422, 503),
}
_LATEST: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Latest},
    304: {"description": "unchanged since the ETag you sent"},
    **documented(404, 422, 503),
}


def sensor_routes(store: ReadingReader, clock: Clock) -> APIRouter:
    """Return the routes under ``/api/sensors``."""
    router = APIRouter(prefix="/api/sensors", tags=["sensors"])
    cache = newest.Latest(store, clock)

    @router.get("/latest", operation_id="getLatest", responses=_LATEST)
    async def latest(sensor_id: SensorQuery, if_none_match: IfNoneMatch = None) -> Response:
        """Return the newest reading of a sensor, at most a second behind the store."""
        answer = await cache.of(SensorId(sensor_id))
        if answer is None:
            await _unknown(store, SensorId(sensor_id))
            raise HTTPException(404, f"sensor {sensor_id} has sent nothing yet")
        headers = {"ETag": answer.etag, "Cache-Control": f"max-age={CACHE_MAX_AGE_S}"}
        if if_none_match == answer.etag:
            return Response(status_code=304, headers=headers)
        return Response(answer.body, headers=headers, media_type="application/json")

    @router.get("/{sensor_id}/readings", operation_id="getReadings", responses=_HISTORY)
    async def readings(
        request: Request,
        sensor_id: SensorPath,
        start: From = None,
        end: To = None,
        limit: ReadingLimit = DEFAULT_READINGS,
        form: Format = None,
    ) -> Response:
        """Return a sensor's readings, oldest first; the next page is in the Link header."""
        until = end or instant_of(clock.now_ms())
        window = (start or until - _DAY, until)
        if window[0] > window[1]:
            raise HTTPException(422, "from lies after to")
        chosen = form or _accepted(request)
        page = await history(store, SensorId(sensor_id), window, limit, chosen)
        if not page.readings:
            await _unknown(store, SensorId(sensor_id))
        cursor = None
        if page.next_start is not None:
            cursor = {
                "from": page.next_start.isoformat(),
                "to": until.isoformat(),
                "format": chosen,
            }
        headers = {"Vary": "Accept", **next_link(request, cursor)}
        media_type = "text/csv" if chosen is Form.CSV else "application/json"
        return Response(page.body, headers=headers, media_type=media_type)

    return router


def _accepted(request: Request) -> Form:
    accept = request.headers.get("accept", "")
    return Form.CSV if "text/csv" in accept and "json" not in accept else Form.JSON


async def _unknown(store: ReadingReader, sensor_id: SensorId) -> None:
    """Refuse a sensor nobody ever spoke for."""
    if not await store.knows(sensor_id):
        raise HTTPException(404, f"no sensor {sensor_id} is known")
