"""The band table as detection uses it: one band a sensor and column, and whose rule it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_rows import COLUMNS, REFUSED
from water import bands as water
from water.rules import IMPOSSIBLE_SEVERITY
from wire.metric import METRICS, Metric


@dataclass(frozen=True, slots=True)
class StoredBand:
    """One row of the table ``bands``.

    Attributes:
        row: What it says.
        version: Rises with every change of it.
        site_id: The one site it holds for, or None: everywhere else.
    """

    row: water.BandRow
    version: int = 1
    site_id: int | None = None

    def as_evidence(self) -> dict[str, Any]:
        """Return the band as an explanation quotes it."""
        row = self.row
        return {
            "low": row.low,
            "high": row.high,
            "dead_band": row.dead_band,
            "severity": row.severity,
            "jurisdiction": row.jurisdiction,
            "source": row.source,
            "verified": row.verified,
            "version": self.version,
            "site_id": self.site_id,
        }


DEFAULT: Final = tuple(StoredBand(row) for row in water.DEFAULT)
# "No value was refused" as a band, so that one machinery judges both.
_NONE_REFUSED: Final[dict[str, Any]] = {
    "low": None,
    "high": 0.5,
    "dead_band": 0.0,
    "severity": IMPOSSIBLE_SEVERITY,
    "jurisdiction": "platform",
    "source": "physical bounds of each metric",
    "verified": True,
    "version": 1,
    "site_id": None,
}
# A band taken out of the table while a breach of it was open: everything is healthy now.
_UNBOUNDED: Final[dict[str, Any]] = {
    **_NONE_REFUSED,
    "high": None,
    "severity": 1,
    "source": "no band",
}


@dataclass(frozen=True, slots=True, eq=False)
class Healthy:
    """Bands for every sensor of a hub: float32, each of shape ``(COLUMNS, sensors)``."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    dead_band: NDArray[np.float32]


class BandBook:
    """All bands at one moment, and the site of each sensor whose site has bands of its own."""

    def __init__(
        self, stored: Sequence[StoredBand] = DEFAULT, site_of: Mapping[int, int] | None = None
    ) -> None:
        """Take the table's rows, at most one a (site, metric), and sensor to site."""
        self._by_place = {(band.site_id, band.row.metric): band for band in stored}
        self._site_of = dict(site_of or {})

    def __eq__(self, other: object) -> bool:
        """Two books that say the same are one: no state need be rebuilt."""
        if not isinstance(other, BandBook):
            return NotImplemented
        return (self._by_place, self._site_of) == (other._by_place, other._site_of)

    __hash__ = None  # type: ignore[assignment]

    def band(self, sensor_id: int, metric: Metric) -> StoredBand | None:
        """Return the band that holds for one sensor, its site's own before everybody's."""
        site_id = self._site_of.get(sensor_id)
        own = None if site_id is None else self._by_place.get((site_id, metric))
        return own or self._by_place.get((None, metric))

    def evidence(self, sensor_id: int, column: int) -> dict[str, Any]:
        """Return the band of a column as an explanation quotes it."""
        if column == REFUSED:
            return _NONE_REFUSED
        band = self.band(sensor_id, Metric(column))
        return _UNBOUNDED if band is None else band.as_evidence()

    def healthy(self, sensor_ids: NDArray[np.int64]) -> Healthy:
        """Return the bands of these sensors; infinite where nothing bounds a column."""
        everywhere = water.bands(
            tuple(b.row for (site, _), b in self._by_place.items() if not site)
        )
        shape = (COLUMNS, len(sensor_ids))
        healthy = Healthy(*(np.zeros(shape, np.float32) for _ in range(3)))
        healthy.low[REFUSED], healthy.high[REFUSED] = -np.inf, 0.5
        healthy.low[:METRICS] = everywhere.low[:, None]
        healthy.high[:METRICS] = everywhere.high[:, None]
        healthy.dead_band[:METRICS] = everywhere.dead_band[:, None]
        special = np.isin(sensor_ids, np.fromiter(self._site_of, np.int64, len(self._site_of)))
        for place in np.flatnonzero(special).tolist():
            site_id = self._site_of[int(sensor_ids[place])]
            rows = [b.row for (site, _), b in self._by_place.items() if site == site_id]
            for row in rows:
                healthy.low[row.metric, place] = -np.inf if row.low is None else row.low
                healthy.high[row.metric, place] = np.inf if row.high is None else row.high
                healthy.dead_band[row.metric, place] = row.dead_band
        return healthy
