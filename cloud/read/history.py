"""A sensor's readings over time, page by page, as JSON or CSV."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Final

from cloud.core.views import QUALITY_AT, SAMPLES_AT, SCORE_AT, Reading
from cloud.read.ports import ReadingReader
from cloud.read.text import DECIMALS, SCORE_DECIMALS, dump, iso, marks
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
    """Return a portion as JSON objects, column by column: a day is 86,400 rows."""
    if not rows:
        return []
    columns = list(zip(*rows, strict=True))
    texts: list[list[str]] = [[f'{{"timestamp":"{iso(instant)}"' for instant in columns[0]]]
    for name, decimals, column in zip(
        (*COLUMNS, "score"),
        (*DECIMALS, SCORE_DECIMALS),
        (*columns[1:QUALITY_AT], columns[SCORE_AT]),
        strict=True,
    ):
        if column.count(None) < len(rows):
            texts.append(
                ["" if value is None else f',"{name}":{value:.{decimals}f}' for value in column]
            )
    texts.append([f',"quality":{_marks_json(quality)}' for quality in columns[QUALITY_AT]])
    texts.append([f',"samples":{samples}}}' for samples in columns[SAMPLES_AT]])
    return [",".join(map("".join, zip(*texts, strict=True))).encode()]


def _as_csv(rows: Sequence[Reading]) -> list[bytes]:
    if not rows:
        return []
    columns = list(zip(*rows, strict=True))
    texts: list[Iterable[str]] = [map(iso, columns[0])]
    for decimals, column in zip(DECIMALS, columns[1:QUALITY_AT], strict=True):
        texts.append(_csv_column(column, decimals))
    texts.append(map(_marks_csv, columns[QUALITY_AT]))
    texts.append(_csv_column(columns[SCORE_AT], SCORE_DECIMALS))
    texts.append(map(str, columns[SAMPLES_AT]))
    return ["\n".join(map(",".join, zip(*texts, strict=True))).encode()]


def _csv_column(column: Sequence[float | None], decimals: int) -> list[str]:
    return ["" if value is None else f"{value:.{decimals}f}" for value in column]


@cache
def _marks_json(quality: int) -> str:
    return dump(marks(quality)).decode()


@cache
def _marks_csv(quality: int) -> str:
    return " ".join(marks(quality))


_WRITERS: Final[dict[Form, Callable[[Sequence[Reading]], list[bytes]]]] = {
    Form.JSON: _as_json,
    Form.CSV: _as_csv,
}
_CSV_HEAD: Final = ",".join(("timestamp", *COLUMNS, "quality", "score", "samples")).encode()
