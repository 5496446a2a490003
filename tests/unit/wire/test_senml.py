"""wire.senml: a unit is converted or refused, never guessed (RFC 8428)."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import MalformedMessageError
from wire.ids import SensorId
from wire.metric import HIGH, LOW, RESOLUTION, SPECS, Metric
from wire.reading import parse_sensor_message
from wire.senml import UNITS

SENSOR = SensorId(123)
T = 1_738_065_600

# unit, metric, ten of it, the same in the metric's own unit: by hand, not from the code.
SAME = [
    ("S/m", Metric.CONDUCTIVITY, 10, 100_000),
    ("mS/cm", Metric.CONDUCTIVITY, 10, 10_000),
    ("uS/cm", Metric.CONDUCTIVITY, 10, 10),
    ("K", Metric.TEMPERATURE, 283.15, 10),
    ("Cel", Metric.TEMPERATURE, 10, 10),
    ("V", Metric.ORP, 1, 1_000),
    ("mV", Metric.ORP, 10, 10),
    ("pH", Metric.PH, 10, 10),
    ("NTU", Metric.TURBIDITY, 10, 10),
    ("FNU", Metric.TURBIDITY, 10, 10),
    ("kg/m3", Metric.DISSOLVED_OXYGEN, 0.01, 10),
    ("kg/m3", Metric.FREE_CHLORINE, 0.01, 10),
    ("kg/m3", Metric.CHLORINE_DIOXIDE, 0.01, 10),
    ("mg/L", Metric.LEAD, 0.01, 10),
    ("kg/m3", Metric.LEAD, 0.00001, 10),
    ("mg/L", Metric.ARSENIC, 0.01, 10),
    ("kg/m3", Metric.ARSENIC, 0.00001, 10),
    ("m3/s", Metric.FLOW, 1, 3_600),
    ("l/s", Metric.FLOW, 10, 36),
    ("cm", Metric.WATER_LEVEL, 10, 0.1),
    ("mm", Metric.WATER_LEVEL, 10, 0.01),
    *((SPECS[metric].ucum, metric, 10, 10) for metric in Metric),
]


def value(metric: Metric, *records: dict[str, object]) -> float:
    message = parse_sensor_message(json.dumps(records).encode(), SENSOR)
    assert message.ignored_fields == 0
    return float(message.values[0, metric])


def refused(why: str, *records: dict[str, object]) -> None:
    with pytest.raises(MalformedMessageError, match=why):
        parse_sensor_message(json.dumps(records).encode(), SENSOR)


@pytest.mark.spec("I12")
@pytest.mark.parametrize(("unit", "metric", "said", "meant"), SAME)
@pytest.mark.parametrize("where", ["u", "bu"])
def test_a_unit_is_converted_to_the_metrics_own(
    where: str, unit: str, metric: Metric, said: float, meant: float
) -> None:
    record = {"n": SPECS[metric].column, where: unit, "v": said, "t": T}
    assert math.isclose(value(metric, record), meant, abs_tol=RESOLUTION[metric] / 2)


def test_every_unit_we_take_is_in_the_table_above() -> None:
    known = {(unit, metric) for metric in Metric for unit in UNITS[metric]}
    assert known == {(unit, metric) for unit, metric, _, _ in SAME}


@given(
    st.sampled_from(Metric),
    st.sampled_from(sorted({unit for unit, *_ in SAME} | {"%", "m/s", "mg{N}/l"})) | st.text(),
    st.floats(0, 1),
    st.sampled_from(["u", "bu"]),
)
def test_another_metrics_unit_is_refused_and_never_guessed(
    metric: Metric, unit: str, part: float, where: str
) -> None:
    said = float(LOW[metric]) + part * float(HIGH[metric] - LOW[metric])
    record: dict[str, object] = {"n": SPECS[metric].column, where: unit, "v": said}
    if unit in {known for known, whose, *_ in SAME if whose is metric} | {""}:
        assert value(metric, record, {"n": "temp", "u": "Cel", "v": 1, "t": T}) is not None
    else:
        refused("unit", record)


def test_a_records_unit_wins_over_its_base_unit_which_holds_until_the_next() -> None:
    base = {"bn": "123:", "bt": T, "bu": "S/m", "n": "cond", "v": 0.05}
    assert value(Metric.CONDUCTIVITY, base) == 500
    assert value(Metric.TEMPERATURE, base, {"n": "temp", "u": "K", "v": 283.15}) == 10
    refused("unit", base, {"n": "temp", "v": 10})


def test_base_values_are_added_before_the_unit_is_converted() -> None:
    assert value(Metric.TEMPERATURE, {"bv": 273.15, "n": "temp", "u": "K", "v": 10}) == 10


@pytest.mark.parametrize("version", [5, 10, 26])
def test_versions_we_know_are_read(version: int) -> None:
    assert value(Metric.PH, {"bver": version, "n": "pH", "v": 7}) == 7


@pytest.mark.parametrize("version", [11, 12, 27, 42])
def test_a_later_version_is_not_used(version: int) -> None:
    refused("later", {"bver": version, "n": "pH", "v": 7})


@pytest.mark.parametrize("version", [10.0, "10", True, None])
def test_a_version_is_a_whole_number(version: object) -> None:
    refused("type", {"bver": version, "n": "pH", "v": 7})


@given(st.text(max_size=8))
def test_a_field_that_must_be_understood_refuses_the_pack(name: str) -> None:
    refused("understood", {"n": "pH", "v": 7, name + "_": 1})


def test_a_sum_without_a_value_is_refused_and_one_beside_a_value_is_not() -> None:
    refused("sum", {"n": "flow", "s": 12}, {"n": "pH", "v": 7})
    assert value(Metric.FLOW, {"n": "flow", "s": 12, "v": 3}) == 3


def test_a_metric_said_twice_of_one_instant_is_refused() -> None:
    refused("twice", {"n": "pH", "v": 7, "t": T}, {"n": "ph_level", "v": 7, "t": T})
    assert value(Metric.PH, {"n": "pH", "v": 7, "t": T}, {"n": "pH", "v": 8, "t": T + 1}) == 7


def test_records_of_other_things_are_ignored_and_counted() -> None:
    pack = [{"n": "battery", "u": "V", "v": 3.3}, {"n": "firmware", "vs": "1"}, {"n": "pH", "v": 7}]
    message = parse_sensor_message(json.dumps(pack).encode(), SENSOR)
    assert message.values[0, Metric.PH] == 7
    assert message.ignored_fields == 2
