"""Two waters, as measured: a drinking-water works and a mountain river.

Sources: GECCO Industrial Challenge 2017 (Thueringer Fernwasserversorgung, one-minute record) for
drinking water; Logan River Observatory, Main Street station, 2019 (15-minute record) for the
river. Figures are the records' 1st percentile, median and 99th percentile.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wire.metric import Metric


class ProfileName(StrEnum):
    """Which water a fleet stands in."""

    DRINKING = "drinking"
    RIVER = "river"


@dataclass(frozen=True, slots=True)
class Spread:
    """How one metric is distributed, in the metric's own unit.

    Attributes:
        low: 1st percentile.
        median: 50th percentile.
        high: 99th percentile.
        swing: Peak to peak of the daily wave, added to the spread.
        peak_hour: Hour of the day (UTC) at which the wave is highest.
    """

    low: float
    median: float
    high: float
    swing: float = 0.0
    peak_hour: float = 15.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of water.

    Attributes:
        spreads: The metrics its sensors measure and follow a spread of their own.
        oxygen_share: Dissolved oxygen as a share of saturation.
        oxygen_swing: Peak to peak of the daily wave of photosynthesis, mg/L.
        pressure_atm: Barometric pressure where the sensors stand.
        dose_mg_per_l: Chlorine dioxide leaving the works; 0 = none is dosed.
        rain: Whether rain reaches the water.
        bounded: Whether healthy water never leaves ``low..high`` (a works controls it; a river
            obeys nobody).
    """

    spreads: dict[Metric, Spread]
    oxygen_share: float
    oxygen_swing: float
    pressure_atm: float
    dose_mg_per_l: float
    rain: bool
    bounded: bool


PROFILES: Final[dict[ProfileName, Profile]] = {
    ProfileName.DRINKING: Profile(
        spreads={
            Metric.PH: Spread(8.26, 8.37, 8.49),
            Metric.TURBIDITY: Spread(0.012, 0.018, 0.038),
            Metric.TEMPERATURE: Spread(6.5, 8.3, 11.0, swing=0.4),
            Metric.CONDUCTIVITY: Spread(189.0, 211.0, 217.0),
            Metric.ORP: Spread(746.0, 754.0, 760.0),
            Metric.CHLORINE_DIOXIDE: Spread(0.15, 0.17, 0.18),
        },
        oxygen_share=0.97,
        oxygen_swing=0.0,
        pressure_atm=1.0,
        dose_mg_per_l=0.178,
        rain=False,
        bounded=True,
    ),
    ProfileName.RIVER: Profile(
        spreads={
            Metric.PH: Spread(8.29, 8.65, 9.0, swing=0.27, peak_hour=16.0),
            # Without rain; its pulses make the long tail.
            Metric.TURBIDITY: Spread(1.8, 3.4, 6.0, swing=1.5, peak_hour=2.0),
            Metric.TEMPERATURE: Spread(0.5, 8.5, 15.2, swing=2.5, peak_hour=16.0),
            Metric.CONDUCTIVITY: Spread(286.0, 371.0, 420.0, swing=14.0, peak_hour=6.0),
            Metric.WATER_LEVEL: Spread(0.22, 0.62, 1.03),
        },
        oxygen_share=0.98,
        oxygen_swing=1.4,
        pressure_atm=0.85,
        dose_mg_per_l=0.0,
        rain=True,
        bounded=False,
    ),
}
