"""Dead letters: what could not be stored, and what was decided about it. Deciding is no GET."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from cloud.api.pages import linked
from cloud.api.params import DEFAULT_ROWS, Before, Hub, RowLimit
from cloud.api.problem import documented
from cloud.read.dead_letters import LETTER_ID_MAX, LetterReader, as_letter, as_whole_letter
from cloud.read.text import dump
from wire.limits import REASON_CHARS_MAX

_TIME: Final = "2025-01-28T12:00:00Z"
_LETTER: Final[dict[str, Any]] = {
    "letter_id": "9",
    "state": "kept",
    "kind": "refused",
    "reason": "batch samples are not positive",
    "hub_id": "hub-1",
    "epoch": "4611686018427387904",
    "sequence": 12,
    "topic": "headgate/1/east-coast/hub-1/batch",
    "flags": ["thinned"],
    "crc": 3_735_928_559,
    "bytes": 412,
    "attempts": 2,
    "first_at": _TIME,
    "last_at": "2025-01-28T12:30:00Z",
    "decided_at": None,
    "decided_by": None,
}
_HEADER: Final[dict[str, Any]] = {
    "hub_id": "hub-1",
    "region": "east-coast",
    "epoch": "4611686018427387904",
    "sequence": 12,
    "kind": "routine",
    "flags": ["thinned"],
    "rows": 40,
    "rows_lost": 4,
    "metrics": ["ph_level", "temperature"],
}
_WHOLE: Final[dict[str, Any]] = {
    **_LETTER,
    "head_hex": "9402c44b9ea56875622d31",
    "header": _HEADER,
    "content": None,
    "fault": "batch samples are not positive",
}

State = Literal["kept", "replayed", "dropped"]
Flags = list[Literal["thinned", "backfill"]]


class Letter(BaseModel):
    """A message no retry can help."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _LETTER})

    letter_id: str
    state: State
    kind: Literal["refused", "reused", "claim"]
    reason: str
    hub_id: str
    epoch: str
    sequence: int
    topic: str | None
    flags: Flags
    crc: int
    bytes: int
    attempts: int
    first_at: str
    last_at: str
    decided_at: str | None
    decided_by: str | None


class LetterList(BaseModel):
    """Dead letters, newest first."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"letters": [_LETTER]}})

    letters: list[Letter]


class Header(BaseModel):
    """A batch's header, which verified."""

    model_config = ConfigDict(extra="forbid")

    hub_id: str
    region: str
    epoch: str
    sequence: int
    kind: Literal["routine", "evidence", "shed"]
    flags: Flags
    rows: int
    rows_lost: int
    metrics: list[str]


class Content(BaseModel):
    """What its rows, or its tombstone, are about."""

    model_config = ConfigDict(extra="forbid")

    rows: int
    observed_from: str
    observed_to: str
    shed: bool


class WholeLetter(Letter):
    """A letter with the first 256 of its bytes, and what can be read of it today."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _WHOLE})

    head_hex: str
    header: Header | None
    content: Content | None
    fault: str | None


SHAPES: Final = (Letter, LetterList, WholeLetter)
_LIST: Final[dict[int | str, dict[str, Any]]] = {200: {"model": LetterList}, **documented(422, 503)}
_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": WholeLetter},
    **documented(404, 422, 503),
}
ChosenState = Annotated[
    Literal["kept", "replayed", "dropped", "all"],
    Query(examples=["replayed"], description="what was decided about them; kept: nothing yet"),
]
LetterPath = Annotated[int, Path(ge=0, le=LETTER_ID_MAX, examples=[9], description="a dead letter")]
Reason = Annotated[
    str,
    Query(max_length=REASON_CHARS_MAX, examples=["key reuse"], description="how the reason begins"),
]


def dead_letter_routes(letters: LetterReader) -> APIRouter:
    """Return the routes under ``/api/dead-letters``."""
    router = APIRouter(prefix="/api", tags=["dead letters"])

    @router.get("/dead-letters", operation_id="listDeadLetters", responses=_LIST)
    async def page(
        request: Request,
        hub_id: Hub = None,
        reason: Reason = "",
        state: ChosenState = "kept",
        limit: RowLimit = DEFAULT_ROWS,
        before: Before = LETTER_ID_MAX,
    ) -> Response:
        """Return dead letters without their bytes, newest first; next page in the Link header."""
        chosen = None if state == "all" else state
        rows = await letters.page(hub_id, reason, chosen, before, limit)
        cursor = {"before": rows[-1]["dead_letter_id"]} if len(rows) == limit else None
        return linked(request, {"letters": [as_letter(row) for row in rows]}, cursor)

    @router.get("/dead-letters/{letter_id}", operation_id="getDeadLetter", responses=_ONE)
    async def one(letter_id: LetterPath) -> Response:
        """Return one dead letter with the head of its bytes and what can be read of it today."""
        row = await letters.one(letter_id)
        if row is None:
            raise HTTPException(404, f"no dead letter {letter_id}")
        return Response(dump(as_whole_letter(row)), media_type="application/json")

    return router
