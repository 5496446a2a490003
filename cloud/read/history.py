"""A sensor's readings over time, page by page, as JSON or CSV."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from cloud.core.views import QUALITY_AT, SAMPLES_AT, SCORE_AT, Reading
from cloud.read.ports import ReadingReader
from cloud.read.text import DECIMALS, SCORE_DECIMALS, as_row, dump, iso, marks
from wire.ids import SensorId
from wire.metric import COLUMNS


class Form(StrEnum):
    """How a page is written."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of history.

    Attributes:
        body: The page in its form.
        readings: How many it holds.
        next_start: ``from`` of the next page: the first reading not on this one; None at the end.
    """

    body: bytes
    readings: int
    next_start: datetime | None


async def history(
    store: ReadingReader,
    sensor_id: SensorId,
    window: tuple[datetime, datetime],
    limit: int,
    form: Form,
) -> Page:
    """Return up to ``limit`` readings of ``[start, end)``, oldest first.

    Raises:
        InfrastructureError: The store is away.
    """
    parts: list[bytes] = []
    written = 0
    following: datetime | None = None
    async for rows in store.readings(sensor_id, window, limit + 1):
        wanted = rows[: limit - written]
        if len(wanted) < len(rows):
            following = rows[len(wanted)][0]
        parts.extend(_WRITERS[form](wanted))
        written += len(wanted)
        await asyncio.sleep(0)  # writing a day takes a while: let others speak between
    return Page(_wrap(sensor_id, window, form, parts), written, following)


def _wrap(
    sensor_id: SensorId, window: tuple[datetime, datetime], form: Form, parts: list[bytes]
) -> bytes:
    if form is Form.CSV:
        return b"\n".join([_CSV_HEAD, *parts, b""])
    head = dump({"sensor_id": str(sensor_id), "from": iso(window[0]), "to": iso(window[1])})
    return head[:-1] + b',"readings":[' + b",".join(parts) + b"]}"


def _as_json(rows: Sequence[Reading]) -> list[bytes]:
    return [dump([as_row(row) for row in rows])[1:-1]] if rows else []


def _as_csv(rows: Sequence[Reading]) -> list[bytes]:
    return ["\n".join(map(_csv_line, rows)).encode()] if rows else []


def _csv_line(row: Reading) -> str:
    values = [
        "" if value is None else str(round(value, decimals) + 0.0)
        for value, decimals in zip(row[1:QUALITY_AT], DECIMALS, strict=True)
    ]
    score = "" if row[SCORE_AT] is None else str(round(row[SCORE_AT], SCORE_DECIMALS))
    judged = (" ".join(marks(row[QUALITY_AT])), score, str(row[SAMPLES_AT]))
    return ",".join((iso(row[0]), *values, *judged))


_WRITERS: Final[dict[Form, Callable[[Sequence[Reading]], list[bytes]]]] = {
    Form.JSON: _as_json,
    Form.CSV: _as_csv,
}
_CSV_HEAD: Final = ",".join(("timestamp", *COLUMNS, "quality", "score", "samples")).encode()
