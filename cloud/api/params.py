"""Query parameters, each with its bounds, its example and its sentence."""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from cloud.read.limits import (
    READINGS_PER_PAGE,
    READINGS_PER_PAGE_MAX,
    ROWS_PER_PAGE,
    ROWS_PER_PAGE_MAX,
)
from wire.ids import is_name
from wire.limits import EPOCH_BITS, SENSOR_ID_MAX, SEQUENCE_MAX

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)


def _in_range(instant: datetime) -> datetime:
    if not _FIRST <= instant <= _LAST:
        raise ValueError("must lie between 1970 and 9999")
    return instant.astimezone(UTC)


def _slug(text: object) -> object:
    """Return a region's id from the name people write: ``East Coast`` is ``east-coast``."""
    return "-".join(text.lower().split()) if isinstance(text, str) else text


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("must be 1 to 64 of a-z, 0-9 and -")
    return text


_Instant = Annotated[AwareDatetime, AfterValidator(_in_range)]

SensorQuery = Annotated[int, Query(ge=0, le=SENSOR_ID_MAX, examples=[123], description="a sensor")]
SensorPath = Annotated[int, Path(ge=0, le=SENSOR_ID_MAX, examples=[123], description="a sensor")]
AlertPath = Annotated[int, Path(ge=0, lt=2**63, examples=[17], description="an alert")]
From = Annotated[
    _Instant | None,
    Query(
        alias="from",
        examples=["2025-01-28T00:00:00Z"],
        description="first instant, ISO 8601 with an offset; default: a day before `to`",
    ),
]
To = Annotated[
    _Instant | None,
    Query(
        alias="to",
        examples=["2025-01-29T00:00:00Z"],
        description="end, not included; default: now",
    ),
]
ReadingLimit = Annotated[
    int, Query(ge=1, le=READINGS_PER_PAGE_MAX, examples=[1_000], description="page size")
]
RowLimit = Annotated[int, Query(ge=1, le=ROWS_PER_PAGE_MAX, examples=[50], description="page size")]
Region = Annotated[
    str | None,
    BeforeValidator(_slug),
    AfterValidator(lambda text: text if text is None else _named(text)),
    Query(examples=["East Coast"], description="a region, by its id or the name of it"),
]
Hub = Annotated[
    str | None,
    AfterValidator(lambda text: text if text is None else _named(text)),
    Query(examples=["hub-1"], description="one hub; default: all"),
]
Before = Annotated[int, Query(ge=0, lt=2**63, examples=[17], description="cursor of the next page")]
AfterSite = Annotated[
    int, Query(ge=0, lt=2**63, examples=[4], description="cursor of the next page")
]
AfterHub = Annotated[
    str, Query(max_length=64, examples=["hub-1"], description="cursor of the next page: hub")
]
AfterEpoch = Annotated[
    int, Query(ge=-1, lt=2**EPOCH_BITS, examples=[2**62], description="cursor: epoch")
]
AfterSequence = Annotated[
    int, Query(ge=-1, lt=SEQUENCE_MAX, examples=[12], description="cursor: sequence")
]

DEFAULT_READINGS: Final = READINGS_PER_PAGE
DEFAULT_ROWS: Final = ROWS_PER_PAGE
