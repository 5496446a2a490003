"""How values are written in answers: times in UTC with a Z, numbers to their metric's step."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from cloud.core.views import QUALITY_AT, SAMPLES_AT, SCORE_AT, Reading
from wire.metric import COLUMNS, SPECS, Metric
from wire.quality import Quality

DECIMALS: Final = tuple(len(f"{SPECS[metric].resolution:g}".split(".")[1]) for metric in Metric)
SCORE_DECIMALS: Final = 4
_SEED_NAMES: Final = {Metric.PH: "pH", Metric.TEMPERATURE: "temp"}


def iso(instant: datetime) -> str:
    """Return ISO 8601 in UTC with a ``Z``; milliseconds only if there are any."""
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    text = utc.isoformat(timespec="milliseconds" if utc.microsecond else "seconds")
    return f"{text[:-6]}Z"


def iso_or_none(instant: datetime | None) -> str | None:
    """Return ``iso``, or None for None."""
    return None if instant is None else iso(instant)


def rounded(value: float, decimals: int) -> float:
    """Return ``value`` to its metric's step; never minus zero."""
    return round(value, decimals) + 0.0


def marks(quality: int) -> list[str]:
    """Return the names of the quality bits that are set; an unknown bit by its number."""
    return [_MARK.get(bit, str(1 << bit)) for bit in range(15) if quality >> bit & 1]


_MARK: Final = {mark.bit_length() - 1: str(mark.name).lower() for mark in Quality if mark}


def as_latest(reading: Reading) -> dict[str, Any]:
    """Return a reading in the spelling of ``/api/sensors/latest``: pH and temp always there."""
    answer: dict[str, Any] = {"pH": None, "temp": None, "timestamp": iso(reading[0])}
    for metric in Metric:
        value = reading[metric + 1]
        if value is not None:
            name = _SEED_NAMES.get(metric, COLUMNS[metric])
            answer[name] = rounded(value, DECIMALS[metric])
    return {**answer, **_judged(reading)}


def _judged(reading: Reading) -> dict[str, Any]:
    judged: dict[str, Any] = {"quality": marks(reading[QUALITY_AT])}
    if reading[SCORE_AT] is not None:
        judged["score"] = round(reading[SCORE_AT], SCORE_DECIMALS)
    return {**judged, "samples": reading[SAMPLES_AT]}


def dump(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
