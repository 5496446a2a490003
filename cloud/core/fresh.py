"""What the medium lane says of a flush: enough for a live chart, small whatever was stored."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloud.core.rows import Rows
from wire.errors import MalformedMessageError
from wire.ids import SensorId, UnixMs
from wire.limits import CONTROL_BYTES_MAX
from wire.metric import METRICS
from wire.pack import UNPACKABLE, pack, unpack

VERSION: Final = 1
SENSORS_MAX: Final = 256
_SENSOR_BYTES_MAX: Final = 9 + 9 + 2 + METRICS * 9
assert SENSORS_MAX * _SENSOR_BYTES_MAX + 64 <= CONTROL_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Latest:
    """A sensor's newest row of a flush; ``values`` has every metric in order, None if absent."""

    sensor_id: SensorId
    observed_at_ms: UnixMs
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A flush in brief.

    Attributes:
        stored_at_ms: The store's time.
        rows: How many rows were stored.
        latest: The newest row of up to 256 of its sensors.
    """

    stored_at_ms: UnixMs
    rows: int
    latest: tuple[Latest, ...]


def fresh(rows: Rows, stored_at_ms: UnixMs) -> Fresh:
    """Return sorted rows in brief."""
    last = np.ones(len(rows), np.bool_)
    last[:-1] = rows.sensor_ids[1:] != rows.sensor_ids[:-1]
    chosen = rows.take(np.flatnonzero(last)[:SENSORS_MAX])
    latest = tuple(
        Latest(SensorId(sensor_id), UnixMs(at_ms), tuple(None if v != v else v for v in values))
        for sensor_id, at_ms, values in zip(
            chosen.sensor_ids.tolist(),
            chosen.observed_at_ms.tolist(),
            chosen.wide().tolist(),
            strict=True,
        )
    )
    return Fresh(stored_at_ms, len(rows), latest)


def encode_fresh(news: Fresh) -> bytes:
    """Return the wire form."""
    latest = [(each.sensor_id, each.observed_at_ms, each.values) for each in news.latest]
    return pack([VERSION, news.stored_at_ms, news.rows, latest])


def decode_fresh(body: bytes) -> Fresh:
    """Return what was encoded.

    Raises:
        MalformedMessageError: It is something else.
    """
    try:
        version, stored_at_ms, rows, latest = unpack(body, bytes_max=CONTROL_BYTES_MAX)
        if version != VERSION:
            raise ValueError(f"is not of version {VERSION}")
        return Fresh(UnixMs(int(stored_at_ms)), int(rows), tuple(map(_latest, latest)))
    except (ValueError, TypeError, *UNPACKABLE) as exc:
        raise MalformedMessageError(str(exc)) from exc


def _latest(fields: Any) -> Latest:
    sensor_id, at_ms, values = fields
    if len(values) != METRICS:
        raise ValueError("has another number of metrics")
    return Latest(SensorId(int(sensor_id)), UnixMs(int(at_ms)), tuple(values))
