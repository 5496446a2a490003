"""Bands: the closed interval a healthy value stays inside, each with the law it comes from."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.metric import METRICS, Metric


@dataclass(frozen=True, slots=True)
class BandRow:
    """One line of the band table.

    Attributes:
        metric: What it bounds.
        low: Least healthy value in the metric's unit, or None.
        high: Greatest healthy value, or None.
        dead_band: How far back inside a value must come before a breach is over.
        severity: 1 (note) to 5 (act now).
        jurisdiction: Whose rule it is.
        source: Where the rule stands.
        verified: Whether the source was read, not remembered.
    """

    metric: Metric
    low: float | None
    high: float | None
    dead_band: float
    severity: int
    jurisdiction: str
    source: str
    verified: bool = False


DEFAULT: Final = (
    BandRow(Metric.PH, 6.5, 8.5, 0.05, 3, "US", "40 CFR 143.3 (secondary)", True),
    BandRow(Metric.TURBIDITY, None, 1.0, 0.1, 4, "US", "40 CFR 141.173 (filtered, maximum)"),
    BandRow(Metric.DISSOLVED_OXYGEN, 4.0, None, 0.2, 3, "platform", "aquatic life, critical"),
    BandRow(Metric.CONDUCTIVITY, None, 2_500.0, 25.0, 2, "EU", "98/83/EC annex I C"),
    BandRow(Metric.FREE_CHLORINE, None, 4.0, 0.1, 4, "US", "40 CFR 141.65 (MRDL)"),
    BandRow(Metric.CHLORINE_DIOXIDE, None, 0.8, 0.02, 4, "US", "40 CFR 141.65 (MRDL)"),
    BandRow(Metric.NITRATE, None, 10.0, 0.2, 5, "US", "40 CFR 141.62 (as N)"),
    BandRow(Metric.LEAD, None, 15.0, 0.5, 5, "US", "40 CFR 141.80 (action level)"),
    BandRow(Metric.ARSENIC, None, 10.0, 0.5, 5, "US", "40 CFR 141.62"),
)


FAR_DEAD_BANDS: Final = 10  # so many dead bands beyond its edge, a breach is one step graver
SEVERITY_MAX: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """The band table as columns, in ``Metric`` order; infinite where nothing bounds a metric.

    Attributes:
        low: float32, shape ``(METRICS,)`` or ``(n, METRICS)``.
        high: Likewise.
        dead_band: Likewise, >= 0.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    dead_band: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuse bands that are not one per metric."""
        if not self.low.shape == self.high.shape == self.dead_band.shape:
            raise ValueError("bands differ in shape")
        if self.low.shape[-1] != METRICS:
            raise ValueError("bands are one low and one high per metric")


def bands(rows: tuple[BandRow, ...] = DEFAULT) -> Bands:
    """Return the rows as columns; the last row of a metric wins."""
    low = np.full(METRICS, -np.inf, np.float32)
    high = np.full(METRICS, np.inf, np.float32)
    dead_band = np.zeros(METRICS, np.float32)
    for row in rows:
        low[row.metric] = -np.inf if row.low is None else row.low
        high[row.metric] = np.inf if row.high is None else row.high
        dead_band[row.metric] = row.dead_band
    return Bands(low, high, dead_band)


def breaches(values: NDArray[np.float32], healthy: Bands) -> NDArray[np.bool_]:
    """Return which values lie outside their band. The edges belong to the band.

    Args:
        values: Shape ``(n, METRICS)``. NaN (not measured) breaches nothing.
        healthy: One band per metric, or per row and metric.

    Returns:
        Shape ``(n, METRICS)``.
    """
    outside: NDArray[np.bool_] = (values < healthy.low) | (values > healthy.high)
    return outside


def severity_of(
    severity: int | NDArray[np.integer[Any]],
    newest: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    dead_band: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Return how grave breaches are: the band's severity, one more where two values are far out.

    Args:
        severity: Of the band, 1..5.
        newest: The last few values of ``n`` series, shape ``(m, n)``.
        low: Shape ``(n,)``, as ``high`` and ``dead_band``.
        high: See ``low``.
        dead_band: The scale of "far"; where it is 0 nothing is far.
    """
    beyond = np.fmax(newest - high, low - newest) > FAR_DEAD_BANDS * dead_band
    far = (beyond.sum(axis=0) >= 2) & (dead_band > 0)
    graver: NDArray[np.int64] = np.minimum(np.asarray(severity) + far, SEVERITY_MAX)
    return graver
