"""Keyset pages: the next one is in the Link header (RFC 8288)."""

from collections.abc import Mapping

from fastapi import Request
from starlette.responses import Response

from cloud.read.text import dump


def linked(
    request: Request,
    answer: object,
    cursor: Mapping[str, object] | None,
    media_type: str = "application/json",
) -> Response:
    """Return ``answer``, linked to the page that begins after ``cursor``; None: the last one."""
    return Response(dump(answer), headers=next_link(request, cursor), media_type=media_type)


def next_link(request: Request, cursor: Mapping[str, object] | None) -> dict[str, str]:
    """Return the Link header of the page at ``cursor``, or no header."""
    if cursor is None:
        return {}
    url = request.url.include_query_params(**cursor)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
