"""Simulated water is reproducible, possible, and looks like the water it was measured on."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim.core.noise import AR_PHI, autoregressive
from firmware_sim.core.oxygen import saturation_mg_per_l
from firmware_sim.core.physics import DAY_MS, Instants, Water, rounded
from firmware_sim.core.profiles import PROFILES, ProfileName
from wire.metric import METRICS, Metric, impossible

START_MS = 1_760_000_000_000
BOTH = pytest.mark.parametrize("name", list(ProfileName))


def rows(sensors: int, seconds: int, every_s: int = 1) -> tuple[Instants, Instants]:
    times = START_MS + np.arange(0, seconds, every_s) * 1_000
    return np.repeat(np.arange(sensors), len(times)), np.tile(times, sensors)


@BOTH
@given(seed=st.integers(0, 2**32), order=st.randoms(use_true_random=False))
def test_a_reading_depends_on_nothing_but_seed_sensor_and_time(
    name: ProfileName, seed: int, order: random.Random
) -> None:
    water = Water(PROFILES[name], seed)
    ids, times = rows(sensors=3, seconds=4)
    shuffle = np.array(order.sample(range(len(ids)), len(ids)))
    together = water.values(ids, times)
    assert np.array_equal(together[shuffle], water.values(ids[shuffle], times[shuffle]), True)
    alone = Water(PROFILES[name], seed).values(ids[5:6], times[5:6])
    assert np.array_equal(together[5:6], alone, True)


def test_another_seed_is_another_water() -> None:
    ids, times = rows(sensors=2, seconds=10)
    one = Water(PROFILES[ProfileName.DRINKING], 1).values(ids, times)
    assert not np.array_equal(one, Water(PROFILES[ProfileName.DRINKING], 2).values(ids, times))


@BOTH
def test_healthy_water_is_physically_possible_and_printed_to_the_resolution(
    name: ProfileName,
) -> None:
    values = Water(PROFILES[name], 5).values(
        *rows(sensors=20, seconds=DAY_MS // 1_000, every_s=600)
    )
    assert values.shape == (20 * 144, METRICS)
    assert not impossible(values.astype(np.float32)).any()
    assert np.array_equal(values, rounded(values), equal_nan=True)
    measured = {Metric(column) for column in np.flatnonzero(~np.isnan(values).all(axis=0))}
    assert measured >= set(PROFILES[name].spreads) | {Metric.DISSOLVED_OXYGEN}


@pytest.mark.parametrize("metric", list(PROFILES[ProfileName.DRINKING].spreads))
def test_drinking_water_has_the_measured_percentiles(metric: Metric) -> None:
    values = Water(PROFILES[ProfileName.DRINKING], 9).values(*rows(400, 7 * 86_400, every_s=36_000))
    spread = PROFILES[ProfileName.DRINKING].spreads[metric]
    low, median, high = np.percentile(values[:, metric], [1, 50, 99])
    width = spread.high - spread.low
    assert abs(median - spread.median) < 0.1 * width
    assert abs(low - spread.low) < 0.15 * width
    assert abs(high - spread.high) < 0.15 * width
    assert spread.low <= values[:, metric].min() <= values[:, metric].max() <= spread.high


@pytest.mark.parametrize(
    ("metric", "swing"),
    [(Metric.TEMPERATURE, 2.5), (Metric.PH, 0.27), (Metric.CONDUCTIVITY, 14.0)],
)
def test_the_river_breathes_by_the_day_as_measured(metric: Metric, swing: float) -> None:
    ids, times = rows(sensors=300, seconds=86_400, every_s=3_600)
    values = Water(PROFILES[ProfileName.RIVER], 3).values(ids, times)[:, metric]
    by_hour = values.reshape(300, 24).mean(axis=0)
    assert swing * 0.7 < np.ptp(by_hour) < swing * 1.6


def test_rain_clouds_the_river_and_thins_its_salt() -> None:
    ids, times = rows(sensors=1, seconds=60 * 86_400, every_s=900)
    values = Water(PROFILES[ProfileName.RIVER], 4).values(ids, times)
    cloudy = values[:, Metric.TURBIDITY] > 20
    assert 0.001 < cloudy.mean() < 0.25
    salt = values[:, Metric.CONDUCTIVITY]
    assert salt[cloudy].mean() < salt[~cloudy].mean() - 5


@pytest.mark.parametrize(
    ("celsius", "atm", "mg_per_l"),
    # USGS Technical Memorandum 2011.03, tables of solubility; 0.85 atm from the same equations.
    [
        (0.0, 1.0, 14.62),
        (10.0, 1.0, 11.29),
        (20.0, 1.0, 9.09),
        (30.0, 1.0, 7.56),
        (40.0, 1.0, 6.41),
    ],
)
def test_oxygen_saturation_agrees_with_the_published_table(
    celsius: float, atm: float, mg_per_l: float
) -> None:
    assert saturation_mg_per_l(np.array([celsius]), atm)[0] == pytest.approx(mg_per_l, abs=0.006)


def test_thin_air_dissolves_less_oxygen() -> None:
    at = np.array([10.0])
    assert saturation_mg_per_l(at, 0.85)[0] == pytest.approx(0.85 * 11.29, rel=0.01)


def test_the_tremble_is_autoregressive_with_the_stated_coefficient() -> None:
    steps = np.arange(50_000)
    noise = autoregressive(1, np.zeros(50_000, np.int64), np.array([0]), steps)[:, 0]
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.std() == pytest.approx(1, abs=0.03)
    for lag in (1, 2, 3):
        assert np.corrcoef(noise[:-lag], noise[lag:])[0, 1] == pytest.approx(AR_PHI**lag, abs=0.03)
