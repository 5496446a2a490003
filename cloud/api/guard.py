"""What is refused before anything is routed: strangers' host names, bodies on GET, crowds."""

from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from cloud.api.limits import IN_FLIGHT_MAX
from cloud.api.problem import RETRY_AFTER_S, problem

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap ``app``."""
        self._app = app
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refused := _refusal(scope, self._in_flight):
            status, detail = refused
            headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else {}
            await problem(status, detail, scope["path"], headers)(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in same-machine pages and programs; browsers apply no CORS to WebSockets."""
        headers = _headers(scope)
        origin = headers.get("origin")
        if _name(headers.get("host", "")) in LOOPBACK_NAMES and (
            origin is None or urlsplit(origin).hostname in LOOPBACK_NAMES
        ):
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def _refusal(scope: Scope, in_flight: int) -> tuple[int, str] | None:
    headers = _headers(scope)
    if _name(headers.get("host", "")) not in LOOPBACK_NAMES:
        # A page elsewhere may point its own name at this machine; it may not read what we say.
        return 421, "only localhost, 127.0.0.1 and [::1] are served here"
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if scope["method"] in ("GET", "HEAD") and has_body:
        return 400, "a GET takes its parameters in the query; send no body"
    if in_flight >= IN_FLIGHT_MAX:
        return 503, "too many requests are being answered just now"
    return None


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _name(host: str) -> str | None:
    """Return the name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
