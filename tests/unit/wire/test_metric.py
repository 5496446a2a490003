"""wire.metric: two values are the same measurement when closer than half a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wire.codec import quantise
from wire.metric import (
    BY_NAME,
    HIGH,
    LOW,
    METRICS,
    RESOLUTION,
    SPECS,
    Metric,
    equal,
    impossible,
)

CUSTOMERS_ORDER = "PH TURBIDITY DISSOLVED_OXYGEN TEMPERATURE CONDUCTIVITY ORP FREE_CHLORINE"
CUSTOMERS_ORDER += " CHLORINE_DIOXIDE NITRATE PHOSPHATE LEAD ARSENIC FLOW WATER_LEVEL"


@pytest.mark.spec("I4")
def test_every_metric_asked_for_is_there_in_the_order_shipped() -> None:
    assert [metric.name for metric in Metric] == CUSTOMERS_ORDER.split()


# column | further names | unit (UCUM) | USGS code | step | least | greatest, written by hand from
# the customer's list, the USGS parameter code dictionary and the UCUM tables, not from the code.
TABLE = """
ph_level         | ph             | [pH]    | 00400 | 0.001 |       0 |     14
turbidity        | turb 63680     | {NTU}   | 00076 | 0.001 |       0 |   4000
dissolved_oxygen | do             | mg/L    | 00300 | 0.01  |       0 |     60
temperature      | temp           | Cel     | 00010 | 0.01  |      -5 |     60
conductivity     | cond ec        | uS/cm   | 00095 | 0.1   |       0 | 200000
orp              | redox          | mV      | 00090 | 0.1   |   -2000 |   2000
free_chlorine    | chlorine cl    | mg/L    | 50064 | 0.001 |       0 |     20
chlorine_dioxide | clo2           | mg/L    | -     | 0.001 |       0 |     20
nitrate          | no3            | mg{N}/L | 00618 | 0.01  |       0 |    500
phosphate        | po4            | mg{P}/L | 00671 | 0.001 |       0 |    100
lead             | pb             | ug/L    | 01051 | 0.01  |       0 |  10000
arsenic          | as             | ug/L    | 01002 | 0.01  |       0 |  10000
flow             |                | m3/h    | -     | 0.1   | -100000 | 500000
water_level      | level stage    | m       | 30207 | 0.001 |     -20 |   1000
"""


@pytest.mark.spec("I4")
@pytest.mark.parametrize("metric", Metric)
def test_every_metric_has_the_unit_code_and_bounds_of_its_row(metric: Metric) -> None:
    line = TABLE.strip().splitlines()[metric]
    column, names, unit, code, step, low, high = (cell.strip() for cell in line.split("|"))
    spec = SPECS[metric]
    assert (spec.column, spec.aliases, spec.ucum) == (column, tuple(names.split()), unit)
    assert spec.usgs == (None if code == "-" else code)
    assert (spec.resolution, spec.low, spec.high) == (float(step), float(low), float(high))
    known = {column, *names.split(), code} - {"-"}
    assert {name for name in BY_NAME if BY_NAME[name] is metric} == known


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
