"""A recorded file as readings: a map says which column is which metric of which sensor."""

import csv
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firmware_sim.core.readings import Readings, joined, readings
from wire.errors import PeerError
from wire.limits import TIME_MS_MAX
from wire.metric import BY_NAME, METRICS

ROWS_PER_BLOCK: Final = 2_000


class UnreadableRecordError(PeerError):
    """The map, or the file it is for, cannot be read; the message says where."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column: which metric it is, and how many of its units make one of the metric's."""

    metric: str
    divisor: Annotated[float, Field(gt=0)] = 1.0


class MappedSensor(_Strict):
    """One sensor: a name for people, and its columns."""

    name: str
    columns: Annotated[dict[str, Column], Field(min_length=1)]


class RecordMap(_Strict):
    """What the columns of a file mean.

    Attributes:
        title: For people.
        time_column: ISO 8601 without an offset.
        time_zone: Of the time column; only UTC, said aloud.
        absent_texts: Cells that mean "not measured".
        absent_numbers: Numbers that mean it: a logger's sentinels.
        sensors: In order; the first has the first id.
    """

    title: str
    time_column: str
    time_zone: Annotated[str, Field(pattern="^UTC$")]
    absent_texts: frozenset[str]
    absent_numbers: tuple[float, ...]
    sensors: Annotated[tuple[MappedSensor, ...], Field(min_length=1, max_length=100)]


@dataclass(slots=True)
class Count:
    """What was in the file so far.

    Attributes:
        rows: Lines of the file below its head.
        rows_empty: Of those, lines in which no mapped column holds a value: nothing is sent.
        rows_out_of_order: Of those, lines not later than the one before: nothing is sent.
        readings: Readings made of the others.
        values: Values in them.
        absent_values: Mapped cells, in lines that are not empty, that hold no value.
    """

    rows: int = 0
    rows_empty: int = 0
    rows_out_of_order: int = 0
    readings: int = 0
    values: int = 0
    absent_values: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the counts."""
        return asdict(self)


def parse_map(text: str) -> RecordMap:
    """Return the map in a TOML text.

    Raises:
        UnreadableRecordError: Says what is wrong with it.
    """
    try:
        found = RecordMap.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as exc:
        raise UnreadableRecordError(f"map: {exc}") from exc
    for sensor in found.sensors:
        for name, column in sensor.columns.items():
            if column.metric not in BY_NAME:
                raise UnreadableRecordError(f"map: {name} is no metric of ours: {column.metric}")
    return found


def blocks(
    lines: Iterable[str], record_map: RecordMap, first_sensor_id: int, count: Count
) -> Iterator[Readings]:
    """Yield the file's readings in order of time, some thousand rows at once.

    Args:
        lines: Of a CSV file, the head first.
        record_map: What its columns mean.
        first_sensor_id: Of the map's first sensor.
        count: Brought up to date with every block.

    Raises:
        UnreadableRecordError: A mapped column is not there, or a cell is neither number nor absent.
    """
    rows = csv.reader(lines)
    head = next(rows, [])
    wanted = [record_map.time_column, *(name for s in record_map.sensors for name in s.columns)]
    lacking = [name for name in wanted if name not in head]
    if lacking:
        raise UnreadableRecordError(f"file has no column {', '.join(lacking)}")
    places = [head.index(name) for name in wanted]
    last_ms = -1
    while block := list(islice(rows, ROWS_PER_BLOCK)):
        try:
            cells = np.array([[row[place] for place in places] for row in block])
            at_ms = _instants(cells[:, 0])
            newest = np.maximum.accumulate(np.concatenate([[last_ms], at_ms]))
            last_ms = int(newest[-1])
            in_order = at_ms > newest[:-1]
            numbers = _numbers(cells[:, 1:], record_map)
            yield _readings(at_ms, numbers, in_order, (record_map, first_sensor_id), count)
        except (IndexError, ValueError) as exc:
            raise UnreadableRecordError(f"after row {count.rows}: {exc}") from exc


def _readings(
    at_ms: NDArray[np.int64],
    numbers: NDArray[np.float64],
    in_order: NDArray[np.bool_],
    sensors: tuple[RecordMap, int],
    count: Count,
) -> Readings:
    record_map, first_sensor_id = sensors
    empty = np.isnan(numbers).all(axis=1)
    count.rows += len(at_ms)
    count.rows_empty += int(empty.sum())
    count.rows_out_of_order += int((~in_order & ~empty).sum())
    parts: list[Readings] = []
    first_column = 0
    for index, sensor in enumerate(record_map.sensors):
        columns = slice(first_column, first_column + len(sensor.columns))
        first_column = columns.stop
        metrics = [BY_NAME[column.metric] for column in sensor.columns.values()]
        said = in_order & ~np.isnan(numbers[:, columns]).all(axis=1)
        values = np.full((int(said.sum()), METRICS), np.nan)
        values[:, metrics] = numbers[said, columns]
        ids = np.full(len(values), first_sensor_id + index, np.int64)
        parts.append(readings(ids, at_ms[said], values))
    made = joined(parts)
    present = int((~np.isnan(made.values)).sum())
    count.readings += len(made)
    count.values += present
    count.absent_values += int((in_order & ~empty).sum()) * numbers.shape[1] - present
    return made.where(np.argsort(made.observed_at_ms, kind="stable"))


def _instants(texts: NDArray[np.str_]) -> NDArray[np.int64]:
    at_ms = texts.astype("datetime64[ms]").astype(np.int64)
    if ((at_ms < 0) | (at_ms > TIME_MS_MAX)).any():
        raise ValueError("a time is out of range")
    return at_ms


def _numbers(cells: NDArray[np.str_], record_map: RecordMap) -> NDArray[np.float64]:
    numbers = np.where(np.isin(cells, list(record_map.absent_texts)), "nan", cells)
    values = numbers.astype(np.float64)
    values[np.isin(values, record_map.absent_numbers) | np.isinf(values)] = np.nan
    divisors = [c.divisor for sensor in record_map.sensors for c in sensor.columns.values()]
    return np.asarray(values / np.array(divisors))
