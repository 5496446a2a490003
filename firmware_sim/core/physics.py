"""Simulated water: what a healthy sensor measures, as a pure function of seed, sensor and time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.noise import autoregressive, normal, uniform, wander
from firmware_sim.core.oxygen import saturation_mg_per_l
from firmware_sim.core.profiles import Profile, Spread
from wire.metric import HIGH, LOW, METRICS, RESOLUTION, Metric

Instants = NDArray[np.int64]
Numbers = NDArray[np.float64]

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

_Z_99: Final = 2.3263  # the normal distribution's 99th percentile
_WANDER_MS: Final = 3 * HOUR_MS
_STEP_MS: Final = 1_000
# Shares of variance: sensors stand in different places, water changes slowly, probes tremble.
_PLACE, _SLOW, _TREMBLE = np.sqrt([0.55, 0.35, 0.10])
_PLACE_CHANNEL: Final = 1_000
_SLOW_CHANNEL: Final = 2_000
_AGE_CHANNEL: Final = 3_000
_RAIN_CHANNEL: Final = 4_000
_SKY: Final = -1  # one rain for all sensors

_RAIN_EVERY_MS: Final = 6 * HOUR_MS
_RAIN_CHANCE: Final = 0.12
_RAIN_RISE_MS: Final = 40 * 60_000
_RAIN_NTU_MAX: Final = 60.0
_RAIN_DILUTES: Final = 0.12
_RAIN_LIFTS_M: Final = 0.25

_DECAY_PER_HOUR_AT_20_C: Final = 0.25  # first order in the bulk, typical 0.02..0.7 per hour
_DECAY_PER_DEGREE: Final = 1.08
_WATER_AGE_HOURS_MAX: Final = 1.8
_CHLORINE_TREMBLE: Final = 0.002  # mg/L
_OXYGEN_TREMBLE: Final = 0.03  # mg/L

DECIMALS: Final = np.round(-np.log10(RESOLUTION)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Water:
    """One body of water, the same for everybody who names the same profile and seed."""

    profile: Profile
    seed: int

    def values(self, sensor_ids: Instants, at_ms: Instants) -> Numbers:
        """Return what healthy sensors measure.

        Args:
            sensor_ids: int64, shape ``(n,)``; any sensors, in any order.
            at_ms: int64, shape ``(n,)``; each row's own time.

        Returns:
            float64, shape ``(n, METRICS)``, rounded to each metric's resolution, physically
            possible; NaN for metrics this water's sensors do not measure.
        """
        values = np.full((len(sensor_ids), METRICS), np.nan)
        metrics = np.array([*self.profile.spreads, Metric.DISSOLVED_OXYGEN], np.int64)
        tremble = autoregressive(self.seed, sensor_ids, metrics, at_ms // _STEP_MS)
        place = self._place(sensor_ids, at_ms, metrics[:-1]) + _TREMBLE * tremble[:, :-1]
        for column, (metric, spread) in enumerate(self.profile.spreads.items()):
            values[:, metric] = _spread_out(spread, place[:, column]) + daily_wave(spread, at_ms)
        if self.profile.dose_mg_per_l > 0:
            column = list(self.profile.spreads).index(Metric.CHLORINE_DIOXIDE)
            self._decay_chlorine(values, sensor_ids, tremble[:, column])
        if self.profile.rain:
            self._rain(values, at_ms)
        if self.profile.bounded:
            for metric, spread in self.profile.spreads.items():
                values[:, metric] = values[:, metric].clip(spread.low, spread.high)
        self._dissolve_oxygen(values, at_ms, tremble[:, -1])
        return rounded(np.clip(values, LOW, HIGH))

    def _place(self, sensor_ids: Instants, at_ms: Instants, channels: Instants) -> Numbers:
        """Return where each sensor lies in its metrics' spreads, shape ``(n, k)``, trembling apart.

        Mean 0; with the tremble the deviation is about 1.
        """
        return np.asarray(
            _PLACE * normal(self.seed, sensor_ids[:, None], _PLACE_CHANNEL + channels)
            + _SLOW * wander(self.seed, sensor_ids, _SLOW_CHANNEL + channels, at_ms, _WANDER_MS)
        )

    def _dissolve_oxygen(self, values: Numbers, at_ms: Instants, tremble: Numbers) -> None:
        saturation = saturation_mg_per_l(
            values[:, Metric.TEMPERATURE].clip(0.0, 40.0), self.profile.pressure_atm
        )
        wave = daily_wave(Spread(0, 0, 0, self.profile.oxygen_swing, peak_hour=13.0), at_ms)
        values[:, Metric.DISSOLVED_OXYGEN] = (
            self.profile.oxygen_share * saturation + wave + _OXYGEN_TREMBLE * tremble
        )

    def _decay_chlorine(self, values: Numbers, sensor_ids: Instants, tremble: Numbers) -> None:
        """First-order decay on the way from the works, faster in warmer water."""
        age_hours = _WATER_AGE_HOURS_MAX * uniform(self.seed, sensor_ids, _AGE_CHANNEL) ** 2
        rate = _DECAY_PER_HOUR_AT_20_C * _DECAY_PER_DEGREE ** (values[:, Metric.TEMPERATURE] - 20.0)
        values[:, Metric.CHLORINE_DIOXIDE] = (
            self.profile.dose_mg_per_l * np.exp(-rate * age_hours) + _CHLORINE_TREMBLE * tremble
        )

    def _rain(self, values: Numbers, at_ms: Instants) -> None:
        pulse = self._rainfall(at_ms)
        values[:, Metric.TURBIDITY] += _RAIN_NTU_MAX * pulse
        values[:, Metric.CONDUCTIVITY] *= 1 - _RAIN_DILUTES * pulse
        values[:, Metric.WATER_LEVEL] += _RAIN_LIFTS_M * pulse

    def _rainfall(self, at_ms: Instants) -> Numbers:
        """Return how strongly rain is felt, 0..2: each shower rises fast and recedes slowly."""
        total = np.zeros(len(at_ms))
        for back in (0, 1, 2):
            spell = at_ms // _RAIN_EVERY_MS - back
            falls = uniform(self.seed, _SKY, _RAIN_CHANNEL, spell) < _RAIN_CHANCE
            strength = uniform(self.seed, _SKY, _RAIN_CHANNEL + 1, spell)
            since = (at_ms - spell * _RAIN_EVERY_MS) / _RAIN_RISE_MS
            total += np.where(falls, strength * since * np.exp(1 - since), 0.0)
        return total


def daily_wave(spread: Spread, at_ms: Instants) -> Numbers:
    """Return the daily wave: mean 0, ``spread.swing`` from trough to peak.

    Returns:
        Shape ``(n,)``, in the metric's unit.
    """
    turn = (at_ms % DAY_MS - spread.peak_hour * HOUR_MS) / DAY_MS
    return np.asarray(spread.swing / 2 * np.cos(2 * np.pi * turn))


def rounded(values: Numbers) -> Numbers:
    """Return values rounded to each metric's resolution, as a probe would print them.

    Args:
        values: Shape ``(n, METRICS)``, any magnitude, NaN allowed.
    """
    scale = 10.0**DECIMALS
    return np.asarray(np.rint(values * scale) / scale)


def _spread_out(spread: Spread, place: Numbers) -> Numbers:
    """Return values whose 1st, 50th and 99th percentiles are the spread's, given normal places."""
    side = np.where(place < 0, spread.median - spread.low, spread.high - spread.median)
    return np.asarray(spread.median + place / _Z_99 * side)
