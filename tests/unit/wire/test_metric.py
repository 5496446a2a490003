"""wire.metric: two values are the same measurement when closer than half a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wire.codec import quantise
from wire.metric import HIGH, LOW, METRICS, RESOLUTION, Metric, equal, impossible

CUSTOMERS_ORDER = "PH TURBIDITY DISSOLVED_OXYGEN TEMPERATURE CONDUCTIVITY ORP FREE_CHLORINE"
CUSTOMERS_ORDER += " CHLORINE_DIOXIDE NITRATE PHOSPHATE LEAD ARSENIC FLOW WATER_LEVEL"


@pytest.mark.spec("I4")
def test_every_metric_asked_for_is_there_in_the_order_shipped() -> None:
    assert [metric.name for metric in Metric] == CUSTOMERS_ORDER.split()


def row(metric: int, value: float) -> NDArray[np.float32]:
    values = np.full((1, METRICS), np.nan, np.float32)
    values[0, metric] = value
    return values


@given(st.integers(0, METRICS - 1), st.floats(0, 1))
def test_a_value_equals_itself_after_the_wire(metric: int, unit: float) -> None:
    value = row(metric, float(LOW[metric]) + unit * float(HIGH[metric] - LOW[metric]))
    assert equal(value, quantise(value)).all()


@given(st.integers(0, METRICS - 1), st.floats(0.01, 0.9))
def test_values_a_whole_step_apart_differ(metric: int, unit: float) -> None:
    low = row(metric, float(LOW[metric]) + unit * float(HIGH[metric] - LOW[metric]))
    high = quantise(low) + np.float32(RESOLUTION[metric])
    assert not equal(quantise(low), high)[0, metric]


def test_absent_equals_absent_and_nothing_else() -> None:
    absent, present = row(0, np.nan), row(0, 7)
    assert equal(absent, absent).all()
    assert not equal(absent, present)[0, 0]


def test_silence_is_possible_and_infinity_is_not() -> None:
    assert not impossible(row(0, np.nan)).any()
    assert impossible(row(0, np.inf))[0, 0]
    assert impossible(row(0, -np.inf))[0, 0]
