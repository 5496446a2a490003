"""A sensor's own message, in every spelling sensors use, as columns.

Shared by hub and HTTP door: JSON objects in both spellings of the customer's documents, a list of
them, SenML (RFC 8428), and msgpack maps with the JSON's names.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.errors import MalformedMessageError
from wire.ids import SensorId, UnixMs
from wire.limits import (
    READINGS_PER_SENSOR_MESSAGE_MAX,
    SENSOR_ID_MAX,
    SENSOR_MESSAGE_BYTES_MAX,
    TIME_MS_MAX,
)
from wire.metric import HIGH, LOW, METRICS, Metric
from wire.pack import UNPACKABLE, unpack
from wire.senml import metric_of, resolved

NO_TIME: Final = -1
"""``observed_at_ms`` of a reading that carries no time of its own."""

_TIME_NAMES: Final = ("timestamp", "observed_at", "time")
_LOW: Final[list[float]] = LOW.tolist()
_HIGH: Final[list[float]] = HIGH.tolist()
_NOT_MEASURED: Final = (math.nan,) * METRICS


@dataclass(frozen=True, slots=True, eq=False)
class SensorMessage:
    """The readings of one message.

    Attributes:
        sensor_ids: int64, shape ``(n,)``.
        observed_at_ms: int64, shape ``(n,)``; ``NO_TIME`` where the sensor gave none.
        values: float32, shape ``(n, METRICS)``; NaN where nothing, or the impossible, was measured.
        refused_values: int16, shape ``(n,)``: how many impossible values became absent.
        ignored_fields: How many fields (SenML: records) of the message named nothing known.
    """

    sensor_ids: NDArray[np.int64]
    observed_at_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    refused_values: NDArray[np.int16]
    ignored_fields: int = 0


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """What a hub tells one sensor: what it need not keep, and whether it speaks too fast.

    Attributes:
        committed_through_ms: Every reading this sensor sent with a time up to here is on disk,
            refused, or thrown away as stale: it need not be sent again.
        throttled: Whether a reading was refused for speaking too fast since the last status.
        committed_ms: Single readings of which the same holds, by time; at most 1,000. A hub whose
            sensors speak to a broker of others names them so, and covers nothing by a range.
    """

    committed_through_ms: UnixMs
    throttled: bool = False
    committed_ms: tuple[UnixMs, ...] = ()


def encode_status(status: StatusMessage) -> bytes:
    """Return the JSON a sensor reads."""
    throttled = "true" if status.throttled else "false"
    named = f',"committed_ms":{list(status.committed_ms)}' if status.committed_ms else ""
    through_ms = status.committed_through_ms
    return f'{{"committed_through_ms":{through_ms},"throttled":{throttled}{named}}}'.encode()


def decode_status(body: bytes) -> StatusMessage:
    """Return the status in ``body``.

    Raises:
        MalformedMessageError: It is none, or longer than 64 KiB.
    """
    if len(body) > SENSOR_MESSAGE_BYTES_MAX:
        raise MalformedMessageError("no status")
    try:
        fields = json.loads(body)
        through, throttled = fields["committed_through_ms"], fields["throttled"]
        named = fields.get("committed_ms", [])
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as exc:
        raise MalformedMessageError("no status") from exc
    if type(through) is not int or type(throttled) is not bool or type(named) is not list:
        raise MalformedMessageError("no status")
    if len(named) > READINGS_PER_SENSOR_MESSAGE_MAX or any(type(at) is not int for at in named):
        raise MalformedMessageError("no status")
    return StatusMessage(UnixMs(through), throttled, tuple(map(UnixMs, named)))


def parse_sensor_message(body: bytes, topic_sensor: SensorId | None = None) -> SensorMessage:
    """Return the readings in a sensor's message.

    A value nature does not allow becomes absent and is counted; the reading's other metrics go on.
    A field that names nothing known is ignored and counted. A metric, or a time, said twice in one
    reading refuses the message: nobody can tell which was meant.

    Args:
        body: JSON, SenML or msgpack, at most 64 KiB and 1,000 readings.
        topic_sensor: Whose topic it came on. A message that names another sensor is refused; one
            that names none is this sensor's.

    Raises:
        MalformedMessageError: Says what is wrong; never quotes the message. Nothing else escapes.
    """
    if len(body) > SENSOR_MESSAGE_BYTES_MAX:
        raise MalformedMessageError(f"{len(body)} bytes exceeds {SENSOR_MESSAGE_BYTES_MAX}")
    try:
        found = _parsed(body)
        items = found if type(found) is list else [found]
        if not 1 <= len(items) <= READINGS_PER_SENSOR_MESSAGE_MAX:
            raise MalformedMessageError(f"holds {len(items)} readings")
        if not all(type(item) is dict for item in items):
            raise MalformedMessageError("a reading is no object")
        senml = any("n" in item or "bn" in item for item in items)
        rows, ignored = _senml_rows(items) if senml else _json_rows(items)
        return _columns(rows, ignored, topic_sensor)
    except (ValueError, TypeError, OverflowError, RecursionError, *UNPACKABLE) as exc:
        raise MalformedMessageError(str(exc)[:120]) from exc


_Row = tuple[int | None, int, tuple[float, ...], int]
"""sensor id if named, time, values, how many were impossible."""


def _columns(rows: list[_Row], ignored: int, topic_sensor: SensorId | None) -> SensorMessage:
    sensor_ids, times, values, refused = zip(*rows, strict=True)
    resolved = [topic_sensor if sensor_id is None else sensor_id for sensor_id in sensor_ids]
    if None in resolved:
        raise MalformedMessageError("names no sensor")
    if topic_sensor is not None and any(sensor_id != topic_sensor for sensor_id in resolved):
        raise MalformedMessageError("names another sensor than its topic")
    return SensorMessage(
        np.array(resolved, np.int64),
        np.array(times, np.int64),
        np.array(values, np.float32),
        np.array(refused, np.int16),
        ignored,
    )


def _parsed(body: bytes) -> Any:
    if body[:1] in (b"{", b"[", b" ", b"\n", b"\t", b"\r"):
        return json.loads(body, parse_constant=_no_constant, object_pairs_hook=_object)
    return unpack(body, bytes_max=SENSOR_MESSAGE_BYTES_MAX, object_of=_object)


def _object(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("says a field twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _json_rows(items: list[dict[str, Any]]) -> tuple[list[_Row], int]:
    rows, ignored = [], 0
    for item in items:
        row, unknown = _row(item)
        rows.append(row)
        ignored += unknown
    return rows, ignored


def _row(item: dict[str, Any]) -> tuple[_Row, int]:
    sensor_id, observed_at_ms, ignored = None, NO_TIME, 0
    found: list[tuple[Metric, Any]] = []
    for name, value in item.items():
        if name == "sensor_id":
            sensor_id = _sensor_id(value)
        elif name in _TIME_NAMES:
            if observed_at_ms != NO_TIME:
                raise ValueError("says its time twice")
            observed_at_ms = _time_ms(value)
        elif (metric := metric_of(name)) is None:
            ignored += 1
        elif value is not None:
            found.append((metric, value))
    if not found:
        raise ValueError("measures nothing")
    return (sensor_id, observed_at_ms, *_measured(found)), ignored


def _measured(found: list[tuple[Metric, Any]]) -> tuple[tuple[float, ...], int]:
    """Return the values by column, and how many were impossible."""
    values, refused = list(_NOT_MEASURED), 0
    for metric, value in found:
        values[metric], impossible = _value(metric, value)
        refused += impossible
    if len({metric for metric, _ in found}) < len(found):
        raise ValueError("says a metric twice")
    return tuple(values), refused


def _value(metric: Metric, value: Any) -> tuple[float, int]:
    if type(value) is not float and type(value) is not int:
        raise ValueError("a value is no number")
    if _LOW[metric] <= value <= _HIGH[metric]:
        return value, 0
    return math.nan, 1


def _sensor_id(value: Any) -> int:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if type(value) is not int or not 0 <= value <= SENSOR_ID_MAX:
        raise ValueError("sensor_id is no whole number in range")
    return value


def _time_ms(value: Any) -> int:
    """Return Unix ms from ISO 8601 with an offset, or from a number of seconds or milliseconds."""
    if type(value) is str:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("a time has no offset from UTC")
        value = round(instant.timestamp() * 1_000)
    elif type(value) is float or type(value) is int:
        # No clock of ours reads the year 5138 in seconds, nor 1973 in milliseconds.
        value = round(value if value > 100_000_000_000 else value * 1_000)
    if type(value) is not int or not 0 <= value <= TIME_MS_MAX:
        raise ValueError("a time is out of range")
    return value


def _senml_rows(records: list[dict[str, Any]]) -> tuple[list[_Row], int]:
    """Join the pack's records to rows: one per resolved sensor and time."""
    rows: dict[tuple[int | None, int], list[tuple[Metric, float]]] = {}
    ignored = 0
    for record in resolved(records):
        if record is None:
            ignored += 1
            continue
        sensor_id = _sensor_id(record.sensor) if record.sensor else None
        observed_at_ms = _time_ms(record.time_s) if record.time_s else NO_TIME
        rows.setdefault((sensor_id, observed_at_ms), []).append((record.metric, record.value))
    if not rows:
        raise ValueError("measures nothing")
    return [(*key, *_measured(found)) for key, found in rows.items()], ignored
