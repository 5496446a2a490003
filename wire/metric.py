"""What can be measured, in which unit, how finely, and what nature allows.

The column order of every value matrix, in memory, on the wire and in the tables.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray


class Metric(IntEnum):
    """A measured quantity. The value is its column. Append only: the order is on the wire."""

    PH = 0
    TURBIDITY = 1
    DISSOLVED_OXYGEN = 2
    TEMPERATURE = 3
    CONDUCTIVITY = 4
    ORP = 5
    FREE_CHLORINE = 6
    CHLORINE_DIOXIDE = 7
    NITRATE = 8
    PHOSPHATE = 9
    LEAD = 10
    ARSENIC = 11
    FLOW = 12
    WATER_LEVEL = 13


METRICS: Final = len(Metric)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One row of the metric table.

    Codes are of the USGS parameter code dictionary (help.waterdata.usgs.gov/codes-and-parameters).
    Turbidity is NTU (00076), as the bands in law are. 63680 is near-infrared FNU, the code probes
    in rivers report (USGS TWRI book 9, A6.7): taken as an alias, number for number, because both
    scales are calibrated on the same formazin; in coloured water the two instruments differ.

    Attributes:
        column: The name in tables, files and answers.
        aliases: Further spellings a sensor or a client may use, lower case.
        ucum: The unit as a UCUM code.
        usgs: The USGS parameter code for this quantity in this unit, or None where USGS keeps
            none in this unit.
        resolution: The step values are stored in, in the metric's unit. Two values closer than
            half of it are equal.
        low: Least physically possible value: below it the probe is broken, whatever the water is.
        high: Greatest physically possible value.
    """

    column: str
    aliases: tuple[str, ...]
    ucum: str
    usgs: str | None
    resolution: float
    low: float
    high: float


SPECS: Final[dict[Metric, MetricSpec]] = {
    Metric.PH: MetricSpec("ph_level", ("ph",), "[pH]", "00400", 0.001, 0, 14),
    Metric.TURBIDITY: MetricSpec("turbidity", ("turb", "63680"), "{NTU}", "00076", 0.001, 0, 4_000),
    Metric.DISSOLVED_OXYGEN: MetricSpec("dissolved_oxygen", ("do",), "mg/L", "00300", 0.01, 0, 60),
    Metric.TEMPERATURE: MetricSpec("temperature", ("temp",), "Cel", "00010", 0.01, -5, 60),
    Metric.CONDUCTIVITY: MetricSpec(
        "conductivity", ("cond", "ec"), "uS/cm", "00095", 0.1, 0, 200_000
    ),
    Metric.ORP: MetricSpec("orp", ("redox",), "mV", "00090", 0.1, -2_000, 2_000),
    Metric.FREE_CHLORINE: MetricSpec(
        "free_chlorine", ("chlorine", "cl"), "mg/L", "50064", 0.001, 0, 20
    ),
    Metric.CHLORINE_DIOXIDE: MetricSpec("chlorine_dioxide", ("clo2",), "mg/L", None, 0.001, 0, 20),
    Metric.NITRATE: MetricSpec("nitrate", ("no3",), "mg{N}/L", "00618", 0.01, 0, 500),
    Metric.PHOSPHATE: MetricSpec("phosphate", ("po4",), "mg{P}/L", "00671", 0.001, 0, 100),
    Metric.LEAD: MetricSpec("lead", ("pb",), "ug/L", "01051", 0.01, 0, 10_000),
    Metric.ARSENIC: MetricSpec("arsenic", ("as",), "ug/L", "01002", 0.01, 0, 10_000),
    Metric.FLOW: MetricSpec("flow", (), "m3/h", None, 0.1, -100_000, 500_000),
    Metric.WATER_LEVEL: MetricSpec(
        "water_level", ("level", "stage"), "m", "30207", 0.001, -20, 1_000
    ),
}

COLUMNS: Final = tuple(SPECS[metric].column for metric in Metric)
RESOLUTION: Final[NDArray[np.float64]] = np.array([SPECS[m].resolution for m in Metric])
LOW: Final[NDArray[np.float32]] = np.array([SPECS[m].low for m in Metric], np.float32)
HIGH: Final[NDArray[np.float32]] = np.array([SPECS[m].high for m in Metric], np.float32)

BY_NAME: Final[dict[str, Metric]] = {
    name: metric
    for metric in Metric
    for name in (SPECS[metric].column, *SPECS[metric].aliases, SPECS[metric].usgs)
    if name is not None
}

assert METRICS <= 32, "the wire's presence mask has 32 bits"
assert (LOW < HIGH).all()
assert len(BY_NAME) == sum(
    1 + len(spec.aliases) + (spec.usgs is not None) for spec in SPECS.values()
), "two metrics share a name"
# Every possible value is a whole number of steps that int32 can count, bounds included.
assert (np.maximum(np.abs(LOW), np.abs(HIGH)) / RESOLUTION < 2**31 - 1).all()
# float32 must resolve half a step even at the far end of the range.
assert (np.spacing(np.maximum(np.abs(LOW), np.abs(HIGH))) < RESOLUTION / 2).all()


def impossible(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which values nature does not allow.

    Args:
        values: Shape ``(n, METRICS)``, float32. NaN (not measured) is possible; infinity is not.

    Returns:
        Shape ``(n, METRICS)``.
    """
    outside: NDArray[np.bool_] = (values < LOW) | (values > HIGH)
    return outside


def equal(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which values are the same measurement: closer than half a step, or both absent.

    Args:
        a: Shape ``(n, METRICS)``.
        b: Shape ``(n, METRICS)``.

    Returns:
        Shape ``(n, METRICS)``.
    """
    # A hair above one half: a value on the edge of two steps may be stored as either.
    half_step = RESOLUTION * 0.5001 + np.spacing(np.abs(b)) / 2
    close = np.abs(a.astype(np.float64) - b) <= half_step
    same: NDArray[np.bool_] = close | (np.isnan(a) & np.isnan(b))
    return same
