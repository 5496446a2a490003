"""wire.reading: every spelling sensors use means the same reading; nothing else gets in."""

import json

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import NOON
from wire.errors import MalformedMessageError
from wire.ids import SensorId, UnixMs
from wire.limits import SENSOR_MESSAGE_BYTES_MAX
from wire.metric import BY_NAME, HIGH, LOW, SPECS, Metric
from wire.reading import (
    NO_TIME,
    StatusMessage,
    decode_status,
    encode_status,
    parse_sensor_message,
)

SENSOR = SensorId(123)
ISO = "2025-01-28T12:00:00Z"
TAKEN = {"sensor_id", "timestamp", "observed_at", "time", "n", "bn"}
UNKNOWN = st.text().filter(lambda name: name not in TAKEN and name.lower() not in BY_NAME)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.mark.spec("I12", "E1")
@pytest.mark.parametrize(
    "body",
    [
        {"sensor_id": "123", "pH": 7.2, "temp": 15.4, "timestamp": ISO},
        {"sensor_id": 123, "ph_level": 7.2, "temperature": 15.4, "timestamp": ISO},
        {"sensor_id": 123, "00400": 7.2, "00010": 15.4, "timestamp": NOON / 1_000},
        {"PH": 7.2, "Temp": 15.4, "timestamp": "2025-01-28T14:00:00+02:00"},
        {"ph": 7.2, "temp": 15.4, "turbidity": None, "time": NOON},
        [{"sensor_id": 123, "pH": 7.2, "temp": 15.4, "observed_at": NOON}],
        [
            {"bn": "urn:dev:ow:123:", "bt": NOON / 1_000, "n": "pH", "u": "pH", "v": 7.2},
            {"n": "temp", "u": "Cel", "v": 15.4},
        ],
        [{"n": "pH", "v": 7.2, "t": NOON / 1_000}, {"n": "temp", "v": 15.4, "t": NOON / 1_000}],
    ],
    ids=str,
)
@pytest.mark.parametrize("spell", [lambda body: json.dumps(body).encode(), msgpack.packb])
def test_every_spelling_means_the_same_reading(body: object, spell: object) -> None:
    message = parse_sensor_message(spell(body), SENSOR)  # type: ignore[operator]
    assert message.sensor_ids.tolist() == [123]
    assert message.observed_at_ms.tolist() == [NOON]
    expected = np.full(len(Metric), np.nan, np.float32)
    expected[Metric.PH], expected[Metric.TEMPERATURE] = 7.2, 15.4
    np.testing.assert_array_equal(message.values[0], expected)
    assert message.refused_values.tolist() == [0]


def test_a_list_may_hold_many_instants_of_many_sensors() -> None:
    body = json.dumps([{"sensor_id": s, "pH": 7, "time": NOON + s} for s in (1, 2, 3)]).encode()
    message = parse_sensor_message(body)
    assert message.sensor_ids.tolist() == [1, 2, 3]
    assert message.observed_at_ms.tolist() == [NOON + 1, NOON + 2, NOON + 3]


def test_a_reading_without_a_time_says_so() -> None:
    assert parse_sensor_message(b'{"pH":7}', SENSOR).observed_at_ms.tolist() == [NO_TIME]


@pytest.mark.parametrize("metric", Metric)
def test_edges_of_nature_are_possible_and_one_step_beyond_is_not(metric: Metric) -> None:
    spec = SPECS[metric]
    for value, refused in (
        (float(LOW[metric]), 0),
        (float(HIGH[metric]), 0),
        (float(LOW[metric]) - spec.resolution, 1),
        (float(HIGH[metric]) + spec.resolution, 1),
    ):
        body = json.dumps({"sensor_id": 1, spec.column: value, "ph_level": 7.0}).encode()
        message = parse_sensor_message(body)
        if metric is not Metric.PH:
            assert bool(np.isnan(message.values[0, metric])) == bool(refused)
            assert message.values[0, Metric.PH] == 7
            assert message.refused_values.tolist() == [refused]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "single|Unpack|unpack|input|parse|bytes|no"),
        (b"{", "."),
        (b"[]", "holds 0"),
        (b"[1]", "no object"),
        (b'{"sensor_id":123}', "measures nothing"),
        (b'{"sensor_id":123,"pH":null}', "measures nothing"),
        (b'{"sensor_id":-1,"pH":7}', "sensor_id"),
        (b'{"sensor_id":9223372036854775808,"pH":7}', "sensor_id"),
        (b'{"sensor_id":1.0,"pH":7}', "sensor_id"),
        (b'{"sensor_id":true,"pH":7}', "sensor_id"),
        (b'{"sensor_id":124,"pH":7}', "another sensor"),
        (b'{"pH":"7"}', "no number"),
        (b'{"pH":true}', "no number"),
        (b'{"pH":NaN}', "NaN"),
        (b'{"colour":7}', "measures nothing"),
        (b'{"pH":7,"ph_level":7}', "metric twice"),
        (b'{"pH":7,"pH":7}', "field twice"),
        (b'{"pH":7,"time":1,"timestamp":2}', "time twice"),
        (b'{"pH":7,"battery":{"v":1,"v":2}}', "field twice"),
        (b"\x82\xa2pH\x07\xa2pH\x08", "field twice"),
        (b'{"pH":7,"time":"2025-01-28T12:00:00"}', "offset"),
        (b'{"pH":7,"time":-1}', "out of range"),
        (b'{"pH":7,"time":1e300}', "out of range"),
        (b'{"pH":7,"time":"yesterday"}', "."),
        (b'[{"n":"pH","v":7,"t":-5}]', "relative"),
        (b'[{"n":"pH","v":"7"}]', "type"),
        (b'[{"bn":"dev:"}]', "nothing"),
    ],
)
def test_everything_else_is_refused_with_its_reason(body: bytes, why: str) -> None:
    with pytest.raises(MalformedMessageError, match=why):
        parse_sensor_message(body, SENSOR)


def test_a_message_that_names_no_sensor_needs_a_topic_that_does() -> None:
    with pytest.raises(MalformedMessageError, match="names no sensor"):
        parse_sensor_message(b'{"pH":7}')


def test_more_than_a_thousand_readings_are_refused() -> None:
    body = json.dumps([{"sensor_id": 1, "pH": 7}] * 1_001).encode()
    with pytest.raises(MalformedMessageError, match="holds 1001"):
        parse_sensor_message(body)


@given(st.integers(0, 2**47), st.booleans())
def test_a_status_arrives_as_sent(through_ms: int, throttled: bool) -> None:
    status = StatusMessage(UnixMs(through_ms), throttled)
    assert decode_status(encode_status(status)) == status


@given(st.dictionaries(UNKNOWN, JSON))
def test_what_is_unknown_is_ignored_and_counted_and_costs_no_neighbour(
    unknown: dict[str, object],
) -> None:
    plain = [{"sensor_id": 123, "pH": 7.2, "time": NOON}, {"sensor_id": 123, "pH": 7.3, "time": 1}]
    for spell in (msgpack.packb, lambda body: json.dumps(body).encode()):
        message = parse_sensor_message(spell([unknown | plain[0], plain[1]]), SENSOR)
        assert message.ignored_fields == len(unknown)
        np.testing.assert_array_equal(
            message.values, parse_sensor_message(spell(plain), SENSOR).values
        )


def test_a_status_longer_than_a_message_may_be_is_not_even_looked_at() -> None:
    status = encode_status(StatusMessage(UnixMs(1)))
    longest = status.ljust(SENSOR_MESSAGE_BYTES_MAX)
    assert decode_status(longest) == StatusMessage(UnixMs(1))
    with pytest.raises(MalformedMessageError):
        decode_status(longest + b" ")
