"""Readings as the text a sensor publishes: JSON in the customer's own spelling."""

from itertools import pairwise
from typing import Final

import numpy as np

from firmware_sim.core.readings import Readings
from wire.limits import READINGS_PER_SENSOR_MESSAGE_MAX, SENSOR_MESSAGE_BYTES_MAX
from wire.metric import METRICS, SPECS, Metric

READINGS_PER_MESSAGE_MAX: Final = 80
_READING_BYTES_MAX: Final = 80 + METRICS * 45  # names are at most 18 long, numbers 24
assert READINGS_PER_MESSAGE_MAX <= READINGS_PER_SENSOR_MESSAGE_MAX
assert READINGS_PER_MESSAGE_MAX * _READING_BYTES_MAX <= SENSOR_MESSAGE_BYTES_MAX

_SPELLING: Final = {
    **{metric: SPECS[metric].column for metric in Metric},
    Metric.PH: "pH",
    Metric.TEMPERATURE: "temp",
}


def messages(readings: Readings, per_message: int | None = None) -> list[tuple[int, bytes]]:
    """Return what to publish: sensor and body, each sensor's readings in the order given.

    One reading is an object, several of one sensor are a list of objects.

    Args:
        readings: Any number, at least one value in each row.
        per_message: Readings in one message at most; None = ``READINGS_PER_MESSAGE_MAX``.
    """
    per_message = min(per_message or READINGS_PER_MESSAGE_MAX, READINGS_PER_MESSAGE_MAX)
    order = np.argsort(readings.sensor_ids, kind="stable")
    sorted_ids = readings.sensor_ids[order]
    texts = _objects(readings.where(order))
    changes = np.flatnonzero(sorted_ids[1:] != sorted_ids[:-1]) + 1
    published: list[tuple[int, bytes]] = []
    for start, end in pairwise([0, *changes.tolist(), len(texts)]):
        for low in range(start, end, per_message):
            part = texts[low : min(low + per_message, end)]
            text = part[0] if len(part) == 1 else f"[{','.join(part)}]"
            published.append((int(sorted_ids[low]), text.encode()))
    return published


def _objects(readings: Readings) -> list[str]:
    """Return one JSON object per reading; absent metrics are left out."""
    measured = ~np.isnan(readings.values)
    columns = np.flatnonzero(measured.any(axis=0)).tolist()
    names = [f',"{_SPELLING[Metric(column)]}":' for column in columns]
    instants = np.datetime_as_string(
        readings.observed_at_ms.astype("datetime64[ms]"), unit="ms"
    ).tolist()
    return [
        f'{{"sensor_id":{sensor_id}'
        + "".join(
            [
                f"{name}{value!r}"
                for name, value, present in zip(names, row, presence, strict=True)
                if present
            ]
        )
        + f',"timestamp":"{instant}Z"}}'
        for sensor_id, row, presence, instant in zip(
            readings.sensor_ids.tolist(),
            readings.values[:, columns].tolist(),
            measured[:, columns].tolist(),
            instants,
            strict=True,
        )
    ]
