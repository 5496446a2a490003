"""What is read of a request before anything is believed, and how a refusal is told (RFC 9457)."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from wire.errors import PeerError
from wire.limits import SENSOR_MESSAGE_BYTES_MAX

MEDIA_TYPES: Final = frozenset(
    {
        "application/json",
        "application/senml+json",
        "application/msgpack",
        "application/x-msgpack",
        "application/vnd.msgpack",
    }
)
BODY_WITHIN_S: Final = 10.0


class Refused(PeerError):
    """A request that is answered with a problem.

    Attributes:
        status: HTTP's.
        detail: For people; never quotes the request.
        retry_after_s: When it may be brought again; None if never like this.
    """

    def __init__(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        """Take what to tell."""
        super().__init__(detail)
        self.status, self.detail, self.retry_after_s = status, detail, retry_after_s


def problem(refused: Refused, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal as problem+json."""
    told = {
        "type": "about:blank",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
    }
    more = dict(headers or {})
    if refused.retry_after_s is not None:
        more["Retry-After"] = str(refused.retry_after_s)
    return Response(json.dumps(told), refused.status, more, "application/problem+json")


async def body_of(request: Request) -> bytes:
    """Return a request's body, at most 64 KiB of a kind we read, within ``BODY_WITHIN_S``.

    Raises:
        Refused: 408, 413 or 415; no more than the limit was ever held.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA_TYPES:
        raise Refused(415, f"send {', '.join(sorted(MEDIA_TYPES))}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "send the body as it is, without a content encoding")
    too_long = Refused(413, f"a message has at most {SENSOR_MESSAGE_BYTES_MAX} bytes")
    if int(request.headers.get("content-length", 0)) > SENSOR_MESSAGE_BYTES_MAX:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.stream():
                if len(body) + len(part) > SENSOR_MESSAGE_BYTES_MAX:
                    raise too_long
                body += part
    except (TimeoutError, ClientDisconnect) as exc:
        raise Refused(408, "the body did not come in time") from exc
    return bytes(body)
