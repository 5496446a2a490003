"""Held readings: said in order, forgotten only when covered, never more than there is room for."""

import json

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from firmware_sim.core.message import READINGS_PER_MESSAGE_MAX, messages
from firmware_sim.core.pace import Pace, ScaledClock
from firmware_sim.core.pending import Pending, ResendPolicy
from tests.support.water import some_readings
from wire.limits import SENSOR_MESSAGE_BYTES_MAX
from wire.metric import METRICS, Metric
from wire.reading import parse_sensor_message

AFTER_MS = 100


class PendingMachine(RuleBasedStateMachine):
    """The table against a plain list of dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending(ResendPolicy(after_ms=AFTER_MS, held_max=12))
        self.model: list[dict[str, int]] = []
        self.now_ms = self.clock_ms = self.row = 0

    @rule(sensors=st.lists(st.integers(1, 3), max_size=4), kept=st.booleans())
    def measure(self, sensors: list[int], kept: bool) -> None:
        sensors = sensors[: self.pending.room]
        self.clock_ms += 1
        sensors = sorted(set(sensors))
        made = some_readings(sensors, [self.clock_ms] * len(sensors))
        made.kept[:] = kept
        rows = np.arange(self.row, self.row + len(sensors))
        self.pending.add(made, rows)
        for sensor, row in zip(sensors, rows.tolist(), strict=True):
            entry = {"sensor": sensor, "at": self.clock_ms, "row": row}
            self.model.append({**entry, "due": 0, "sent": 0, "kept": kept})
        self.row += len(sensors)

    @rule(wait_ms=st.integers(0, 2 * AFTER_MS), most=st.integers(0, 5))
    def take(self, wait_ms: int, most: int) -> None:
        self.now_ms += wait_ms
        due = [entry for entry in self.model if entry["due"] <= self.now_ms][:most]
        taken, first = self.pending.take(self.now_ms, most)
        assert taken.observed_at_ms.tolist() == [entry["at"] for entry in due]
        assert taken.sensor_ids.tolist() == [entry["sensor"] for entry in due]
        assert first.tolist() == [entry["sent"] == 0 for entry in due]
        for entry in due:
            entry["due"] = self.now_ms + AFTER_MS * 2 ** min(entry["sent"], 5)
            entry["sent"] += 1
        self.model = [e for e in self.model if e["kept"] or not e["sent"]]

    @rule(sensor=st.integers(1, 4), back=st.integers(0, 5))
    def commit(self, sensor: int, back: int) -> None:
        through = self.clock_ms - back
        covered = [
            e for e in self.model if e["sensor"] == sensor and e["at"] <= through and e["sent"]
        ]
        assert self.pending.commit({sensor: through}).tolist() == [e["row"] for e in covered]
        self.model = [entry for entry in self.model if entry not in covered]

    @rule()
    def break_connection(self) -> None:
        self.pending.rewind()
        for entry in self.model:
            entry["due"] = 0

    @invariant()
    def as_many_are_held_as_should_be(self) -> None:
        assert len(self.pending) == len(self.model) <= 12
        assert self.pending.room == 12 - len(self.model)


PendingMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPending = PendingMachine.TestCase


def test_messages_say_what_was_measured_in_order_and_within_the_limit() -> None:
    n = 3 * READINGS_PER_MESSAGE_MAX
    made = some_readings([1 + row % 2 for row in range(n)], list(range(1_000, 1_000 + n)))
    made.values[:] = -123456.78901234567
    made.values[:, Metric.PH] = 7 + np.arange(n) / 1_000
    heard: dict[int, list[int]] = {1: [], 2: []}
    for sensor_id, body in messages(made):
        assert len(body) <= SENSOR_MESSAGE_BYTES_MAX
        message = parse_sensor_message(body, None)
        assert (message.sensor_ids == sensor_id).all()
        heard[sensor_id] += message.observed_at_ms.tolist()
        ph = 7 + (message.observed_at_ms - 1_000) / 1_000
        assert np.array_equal(message.values[:, Metric.PH], ph.astype(np.float32))
    assert heard == {1: list(range(1_000, 1_000 + n, 2)), 2: list(range(1_001, 1_000 + n, 2))}


def test_a_single_reading_is_an_object_in_the_customers_spelling() -> None:
    made = some_readings([123], [1_767_268_800_123])
    made.values[0, Metric.TEMPERATURE] = 15.4
    ((sensor_id, body),) = messages(made)
    assert sensor_id == 123
    assert json.loads(body) == {
        "sensor_id": 123,
        "pH": 7.0,
        "temp": 15.4,
        "timestamp": "2026-01-01T12:00:00.123Z",
    }
    assert list(messages(made.where(np.zeros(0, np.intp)))) == []
    assert made.values.shape == (1, METRICS)


def test_each_sensor_measures_on_its_own_grid_whatever_the_world_does() -> None:
    ids = np.arange(50, dtype=np.int64)
    steady = Pace(ids, 10_000, 20_000, 1_000, seed=1)
    jerky = Pace(ids, 10_000, 20_000, 1_000, seed=1)
    smooth = [steady.due(at) for at in range(10_000, 20_001, 10)]
    stalled = [jerky.due(at) for at in (10_500, 10_500, 17_003, 99_999)]
    for runs in (smooth, stalled):
        at_ms = np.concatenate([run[1] for run in runs])
        position = np.concatenate([run[0] for run in runs])
        assert (np.diff(at_ms) >= 0).all()
        assert ((at_ms >= 10_000) & (at_ms < 20_000)).all()
        for sensor in range(50):
            assert (np.diff(at_ms[position == sensor]) == 1_000).all()
        assert len(at_ms) == 50 * 10
    assert steady.finished
    assert jerky.finished


def test_a_scaled_clock_waits_exactly_until_an_instant_has_come() -> None:
    line = ScaledClock(wall_start_ms=1_000, observed_start_ms=50_000, speed=2.5)
    assert line.observed_ms(1_000) == 50_000
    assert line.observed_ms(1_400) == 51_000
    wait_ms = line.wait_ms(51_001, 1_000)
    assert line.observed_ms(1_000 + wait_ms) >= 51_001 > line.observed_ms(1_000 + wait_ms - 1)
    assert line.wait_ms(50_000, 1_000) == 0
