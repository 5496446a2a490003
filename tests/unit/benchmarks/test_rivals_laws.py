"""The comparison's own parts: what sensors send a hub can read; how the verdict is made."""

import json
from datetime import datetime

import pytest

from benchmarks.rivals.__main__ import figures, sensor_side, table
from benchmarks.rivals.contenders import HEADGATE, RIVALS
from benchmarks.rivals.installed import DESIGNS
from benchmarks.rivals.saturation import AHEAD_MIN, AHEAD_S, Saturation, ahead
from benchmarks.rivals.sensors import Fleet, HttpSensor, MqttSensor, Sensor, body
from edge_agent.core.framing import length_of, read_publish
from wire.reading import parse_sensor_message
from wire.topics import parse_sensor_data


def saturation(rows_per_s: float, cpu_s: float, unstored: int = 0) -> Saturation:
    costs = {"postgres": cpu_s, "gateway": 0.0, "ingest": 0.0, "hub": 0.0}
    threads = {"listening": 90.0, "committing": 40.0}
    return Saturation(rows_per_s, costs, 30.0, threads, 1_000, unstored)


def test_what_a_sensor_publishes_is_what_a_hub_reads_a_second_later_each_time() -> None:
    sensor, times = MqttSensor(Fleet(1_700_000_000), 5_007), []
    for sensor.turn in range(3):
        packet = sensor.packet(body(sensor.sensor_id, sensor.fleet.start_s, sensor.turn))
        assert (length_of(packet[1:2]), length_of(packet[1:3])) == (None, len(packet) - 3)
        publish = read_publish(packet[0], packet[3:])
        assert (publish.packet_id, publish.answer) == (sensor.turn + 1, 0x40)
        message = parse_sensor_message(publish.body, parse_sensor_data(publish.topic))
        assert (message.ignored_fields, message.refused_values.sum()) == (0, 0)
        times += message.observed_at_ms.tolist()
    assert times == [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000]


def test_a_post_carries_the_same_reading_and_says_how_long_it_is() -> None:
    reading = body(5_000, 1_700_000_000, 9)
    head, _, rest = HttpSensor(Fleet(0), 5_000).packet(reading).partition(b"\r\n\r\n")
    assert rest == reading
    assert f"Content-Length: {len(reading)}".encode() in head
    told = json.loads(rest)
    assert datetime.fromisoformat(told["timestamp"]).timestamp() == 1_700_000_009
    assert told.keys() == {"sensor_id", "pH", "temp", "turbidity", "conductivity", "timestamp"}


@pytest.mark.parametrize("kind", [MqttSensor, HttpSensor])
def test_nothing_is_sent_before_it_is_allowed_nor_beyond_what_may_be_in_flight(
    kind: type[Sensor],
) -> None:
    fleet = Fleet(0)
    sensor = kind(fleet, 1)
    fleet.sensors.append(sensor)
    sensor.ready = True
    sensor.go_on()
    assert fleet.sent == 0
    fleet.allow(100)
    assert fleet.sent == sensor.in_flight == kind.in_flight_max
    sensor.took(1)
    assert (fleet.sent, fleet.acknowledged) == (kind.in_flight_max + 1, 1)


def test_answers_of_a_broker_count_however_they_are_cut() -> None:
    sensor = MqttSensor(Fleet(0, allowed=3), 1)
    for piece in (b"\x20\x02", b"\0\0\x40\2", b"\0\1\x40\2\0\2\x40", b"\2\0\3"):
        sensor.data_received(piece)
    assert (sensor.ready, sensor.fleet.sent, sensor.fleet.acknowledged) == (True, 3, 3)


def test_an_answer_over_http_counts_once_it_is_whole_and_a_refusal_ends_it() -> None:
    sensor = HttpSensor(Fleet(0, allowed=1), 1)
    sensor.ready = True
    sensor.go_on()
    for piece in (b"HTTP/1.1 202 Accepted\r\nContent-", b"Length: 2\r\n\r\n{"):
        sensor.data_received(piece)
        assert sensor.fleet.acknowledged == 0
    sensor.data_received(b"}")
    assert sensor.fleet.acknowledged == 1
    with pytest.raises(ValueError, match="500"):
        sensor.data_received(b"HTTP/1.1 500 Oh\r\n\r\n")


def test_sensors_are_ahead_by_some_seconds_and_never_starve_a_slow_pipeline() -> None:
    assert ahead([(0.0, 0)]) == AHEAD_MIN
    assert ahead([(0.0, 0), (4.0, 400)]) == AHEAD_MIN
    assert ahead([(0.0, 0), (4.0, 40_000)]) == AHEAD_S * 10_000


def test_targets_are_met_at_their_edge_only_and_missed_where_a_rival_is_missing() -> None:
    literal = saturation(700, 1_500)
    met = figures({"headgate": saturation(7_000, 100), "literal": literal})
    missed = figures({"headgate": saturation(6_999, 100.1, unstored=1), "literal": literal})
    assert [figure.reached for figure in met] == [True, True, True]
    assert [figure.reached for figure in missed] == [False, False, False]
    assert [each.reached for each in figures({"headgate": saturation(7_000, 100)})] == [
        False,
        False,
        True,
    ]


def test_the_sensor_side_adds_up_to_the_hub_and_every_pipeline_has_a_line() -> None:
    ours = saturation(7_000, 5.0)
    where = sensor_side(ours, 25.0)
    assert sum(cost for part, cost in where.items() if part.startswith("hub")) == 130.0
    assert len(table({"headgate": ours, "literal": ours})) == 3


def test_every_rival_has_its_design_beside_the_bench() -> None:
    assert len({each.name for each in (HEADGATE, *RIVALS)}) == 4
    flow = json.loads((DESIGNS / "node_red" / "flow.json").read_text())
    wires = {target for node in flow for wire in node.get("wires", []) for target in wire}
    assert wires <= {node["id"] for node in flow}
