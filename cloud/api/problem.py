"""Every refusal and failure as RFC 9457 problem+json."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cloud.read.text import dump
from wire.errors import InfrastructureError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = "1"


class Fault(BaseModel):
    """One thing wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    parameter: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "no sensor 123 is known",
                "instance": "/api/sensors/latest",
            }
        },
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's ``responses`` for these statuses."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}}
        for status in statuses
    }


def problem(
    status: int,
    detail: str,
    instance: str,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Response:
    """Return a problem as an answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        body["errors"] = errors
    return Response(dump(body), status, dict(headers or {}), MEDIA_TYPE)


def away(instance: str) -> Response:
    """Return the answer while the database is away. The cause is logged, not told."""
    headers = {"Retry-After": RETRY_AFTER_S}
    return problem(503, "the database does not answer just now", instance, headers)


def install(app: FastAPI) -> None:
    """Make ``app`` answer every failure as a problem."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(InfrastructureError, _away)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    detail = f"nothing is at {request.url.path}" if exc.detail == "Not Found" else exc.detail
    return problem(exc.status_code, detail, request.url.path, exc.headers)


async def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = [
        {"parameter": str(fault["loc"][-1]), "detail": str(fault["msg"])} for fault in exc.errors()
    ]
    detail = "; ".join(f"{error['parameter']}: {error['detail']}" for error in errors)
    return problem(422, detail, request.url.path, errors=errors)


async def _away(request: Request, _: Exception) -> Response:
    return away(request.url.path)


async def _broken(request: Request, _: Exception) -> Response:
    return problem(500, "a fault of ours; it is in our log", request.url.path)
