"""SenML (RFC 8428), resolved: each record with its base values, in our units.

What is not understood is ignored where the RFC lets us, and refused where a guess would be wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from wire.metric import BY_NAME, SPECS, Metric

# RFC 9100: version 10, or 10 with bit 4, secondary units (mV, mm, ...), which are read here.
VERSION: Final = 10
_WITH_SECONDARY_UNITS: Final = 26
_RELATIVE_S: Final = 2**28  # RFC 8428, 4.5.3: smaller times are relative to now
_OTHER_VALUES: Final = ("vs", "vb", "vd")

_MG: Final = {"kg/m3": (1e3, 0.0)}
_UG: Final = {"mg/L": (1e3, 0.0), "kg/m3": (1e6, 0.0)}

UNITS: Final[dict[Metric, dict[str, tuple[float, float]]]] = {
    metric: {SPECS[metric].ucum: (1.0, 0.0)}
    | {
        Metric.PH: {"pH": (1.0, 0.0)},
        Metric.TURBIDITY: {"NTU": (1.0, 0.0), "FNU": (1.0, 0.0)},
        Metric.DISSOLVED_OXYGEN: _MG,
        Metric.TEMPERATURE: {"K": (1.0, -273.15)},
        Metric.CONDUCTIVITY: {"S/m": (1e4, 0.0), "mS/cm": (1e3, 0.0)},
        Metric.ORP: {"V": (1e3, 0.0)},
        Metric.FREE_CHLORINE: _MG,
        Metric.CHLORINE_DIOXIDE: _MG,
        Metric.LEAD: _UG,
        Metric.ARSENIC: _UG,
        Metric.FLOW: {"m3/s": (3_600.0, 0.0), "l/s": (3.6, 0.0)},
        Metric.WATER_LEVEL: {"cm": (1e-2, 0.0), "mm": (1e-3, 0.0)},
    }.get(metric, {})
    for metric in Metric
}
"""Scale and offset to the metric's unit, by what a record may call its own.

Nitrate and phosphate know their own unit only: a bare mg/L may mean the ion or the element.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One record that measures something we keep.

    Attributes:
        sensor: The sensor's name, empty if the record gives none.
        time_s: Seconds since 1970; 0 if the record gives none.
        metric: What was measured.
        value: In the metric's unit.
    """

    sensor: str
    time_s: float
    metric: Metric
    value: float


def metric_of(name: str) -> Metric | None:
    """Return the metric a sensor means, in any case; None if it is none of ours."""
    metric = BY_NAME.get(name)
    return BY_NAME.get(name.lower()) if metric is None else metric


def resolved(records: list[dict[str, Any]]) -> Iterator[Measured | None]:
    """Yield what each record measures (RFC 8428, 4.6); None for one that measures nothing of ours.

    Names are ``[sensor:]metric``. A record without a unit, and without a base unit, is in the
    metric's own.

    Raises:
        ValueError: Says what is wrong; never quotes the message.
    """
    base: dict[str, Any] = {"bn": "", "bt": 0, "bv": 0, "bu": ""}
    for record in records:
        _understood(record)
        base |= {name: record[name] for name in base if name in record}
        if "v" in record:
            yield _measured(record, base)
        elif any(name in record for name in _OTHER_VALUES):
            yield None


def _understood(record: dict[str, Any]) -> None:
    """Refuse what RFC 8428 (4.4) tells a reader not to use."""
    version = _typed(record.get("bver", VERSION), int)
    if version > VERSION and version != _WITH_SECONDARY_UNITS:
        raise ValueError("a later SenML than ours")
    if any(name.endswith("_") for name in record):
        raise ValueError("a field that must be understood is not")
    if "s" in record and "v" not in record:
        raise ValueError("a sum is no reading")


def _measured(record: dict[str, Any], base: dict[str, Any]) -> Measured | None:
    name = _typed(base["bn"], str) + _typed(record.get("n", ""), str)
    time_s = _typed(base["bt"], float, int) + _typed(record.get("t", 0), float, int)
    value = _typed(base["bv"], float, int) + _typed(record["v"], float, int)
    unit = _typed(record.get("u", base["bu"]), str)
    if 0 != time_s < _RELATIVE_S:
        raise ValueError("a relative time means nothing once it has been kept")
    sensor, _, metric_name = name.rpartition(":")
    metric = metric_of(metric_name)
    if metric is None:
        return None
    if unit:
        if unit not in UNITS[metric]:
            raise ValueError("a unit is not one of its metric's")
        scale, offset = UNITS[metric][unit]
        value = value * scale + offset
    return Measured(sensor.rpartition(":")[2], time_s, metric, value)


def _typed(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise ValueError("a field has another type")
    return value
