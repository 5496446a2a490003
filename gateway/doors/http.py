"""The HTTP door: ``POST /api/sensors/data``, answered 202 once nothing can lose the readings.

A message is taken whole or not at all. 202 says the store, or a replicated queue, has it: whether
each reading becomes a row is for the store to judge, and what it refuses (a sensor that another
hub speaks for, a time out of range) is kept with its reason, never told here.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.core.readings import fault, stamped
from gateway.core.repeats import KEY_CHARS_MAX, Repeats
from gateway.doors.http_body import MEDIA_TYPES, Refused, body_of, problem
from gateway.doors.http_courier import Courier, Fate
from gateway.doors.http_health import AWAY, add_health
from gateway.doors.http_turnstile import Turnstile
from gateway.ports import DoorMeter
from wire.clock import Clock
from wire.errors import MalformedMessageError
from wire.ids import UnixMs
from wire.limits import SENSOR_MESSAGE_BYTES_MAX
from wire.pack import UNPACKABLE, unpack
from wire.reading import SensorMessage, parse_sensor_message

PATH: Final = "/api/sensors/data"
IN_FLIGHT_MAX: Final = 2_048
RECEIVED: Final = b'{"status":"success","message":"Data received"}'
_UNSAFE: Final = {
    Fate.LATE: "not known to be safe in time; send it again, under the same times or key",
    Fate.AWAY: AWAY,
    Fate.FULL: "too much waits for the store already; nothing was taken",
}


@dataclass(frozen=True, slots=True)
class HttpDoor:
    """Reads, judges and answers one message at a time.

    Attributes:
        courier: Takes what is let in.
        turnstile: Keeps sensors to their rate.
        repeats: Idempotency keys.
        clock: Arrival.
        meter: Counts.
        device_header: Where a proxy we trust puts the name in a device's certificate; None: nobody
            in front of us asks for one. ``sensor-123`` speaks for sensor 123 alone.
    """

    courier: Courier
    turnstile: Turnstile
    repeats: Repeats
    clock: Clock
    meter: DoorMeter
    device_header: str | None = None

    async def take(self, request: Request) -> Response:
        """Return the answer to a message."""
        try:
            answer = await self._take(request)
        except Refused as refused:
            answer = problem(refused)
        self.meter.answered(str(answer.status_code))
        return answer

    async def _take(self, request: Request) -> Response:
        arrived_ms = self.clock.now_ms()
        body = await body_of(request)
        message = _parsed(body)
        device = self._device(request, message)
        if (why := fault(message, arrived_ms)) is not None:
            raise Refused(422, why)
        if wait_ms := await self.turnstile.take(message.sensor_ids):
            raise Refused(429, "a sensor may send one reading a second", _seconds(wait_ms))
        readings = stamped(message, self._heard_first(request, device, body, arrived_ms))
        fate = await self.courier.deliver(readings)
        if fate is not Fate.SAFE:
            raise Refused(503, _UNSAFE[fate], 1)
        self.meter.admitted(message)
        return Response(RECEIVED, 202, media_type="application/json")

    def _device(self, request: Request, message: SensorMessage) -> str:
        """Return who sends, by certificate; empty where nobody asks for one."""
        if self.device_header is None:
            return ""
        name = request.headers.get(self.device_header, "")
        if any(name != f"sensor-{sensor_id}" for sensor_id in message.sensor_ids.tolist()):
            raise Refused(403, "this certificate does not speak for that sensor")
        return name

    def _heard_first(
        self, request: Request, device: str, body: bytes, arrived_ms: UnixMs
    ) -> UnixMs:
        """Return when this message was first let in: now, but for one sent again under its key."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return arrived_ms
        if not 1 <= len(key) <= KEY_CHARS_MAX:
            raise Refused(400, f"an Idempotency-Key has 1 to {KEY_CHARS_MAX} characters")
        first = self.repeats.first(f"{device} {key}", hashlib.sha256(body).digest(), arrived_ms)
        if first is None:
            raise Refused(422, "this Idempotency-Key came with another message before")
        return first


def application(door: HttpDoor) -> ASGIApp:
    """Return the door as an application."""
    app = FastAPI(title="Headgate door", docs_url=None, redoc_url=None)
    in_flight = 0

    @app.post(PATH, status_code=202, operation_id="postReadings", **_DESCRIBED)
    async def post_readings(request: Request) -> Response:
        """Bring one reading, or a list of them."""
        nonlocal in_flight
        if in_flight >= IN_FLIGHT_MAX:
            return problem(Refused(503, "too many messages are being answered just now", 1))
        in_flight += 1
        try:
            return await door.take(request)
        finally:
            in_flight -= 1

    add_health(app, door.courier)

    @app.exception_handler(HTTPException)
    async def elsewhere(_: Request, exc: HTTPException) -> Response:
        return problem(Refused(exc.status_code, f"POST readings to {PATH}"), exc.headers)

    return app


def _parsed(body: bytes) -> SensorMessage:
    try:
        return parse_sensor_message(body)
    except MalformedMessageError as exc:
        raise Refused(422 if _has_form(body) else 400, str(exc)) from exc


def _has_form(body: bytes) -> bool:
    """Return whether it is JSON or msgpack at all, whatever it says."""
    try:
        if body.lstrip()[:1] in (b"{", b"["):
            json.loads(body)
        else:
            unpack(body, bytes_max=SENSOR_MESSAGE_BYTES_MAX)
    except UNPACKABLE:
        return False
    return True


def _seconds(wait_ms: int) -> int:
    return max(1, math.ceil(wait_ms / 1_000))


_STRING: Final = {"schema": {"type": "string", "format": "binary"}}
_PROBLEM: Final = {"application/problem+json": {"schema": {"type": "object"}}}
_DESCRIBED: Final[dict[str, Any]] = {
    "responses": {
        202: {"content": {"application/json": {"example": json.loads(RECEIVED)}}},
        **{
            status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
            for status in (400, 403, 408, 413, 415, 422, 429, 503)
        },
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                **dict.fromkeys(sorted(MEDIA_TYPES), _STRING),
                "application/json": {
                    "schema": {"type": ["object", "array"]},
                    "example": {"sensor_id": "123", "pH": 7.2, "temp": 15.4},
                },
            },
        }
    },
}
