"""Evidence is rationed, and yet no suspicious reading stays behind, however fast readings come."""

from copy import deepcopy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.evidence import EVIDENCE_AT_ONCE, EVIDENCE_PER_S, ROWS_BEFORE, Ring
from edge_agent.core.rows import Rows
from wire.metric import METRICS

SENSORS = 2
SPENT = 70
"""So many suspicious readings at once leave no ration."""
Commit = tuple[int, list[tuple[int, bool]]]
"""Milliseconds since the last one, and readings: whose, and whether it is suspicious."""

readings = st.tuples(st.integers(0, SENSORS - 1), st.booleans())
few_or_many = st.one_of(st.integers(0, 20), st.integers(0, 60_000))
commits = st.lists(st.tuples(few_or_many, st.lists(readings, max_size=30)), max_size=30)


class Life:
    """A ring, what it was told and what it has shown, by (sensor, number of its reading)."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, bool]] = []
        self.shown: list[tuple[int, int]] = []
        self.messages = [0] * SENSORS
        self.steady_ms = 0
        self._ring = Ring()
        self._ring.grow(SENSORS)
        self._next = [0] * SENSORS
        for _ in range(SPENT):
            self.commit((0, [(sensor, True) for sensor in range(SENSORS)]))

    def commit(self, commit: Commit) -> None:
        passed_ms, came = commit
        self.steady_ms += passed_ms
        new = []
        for sensor, suspicious in came:
            new.append((sensor, self._next[sensor], suspicious))
            self._next[sensor] += 1
        new.sort()
        n, places = len(new), np.array([each[0] for each in new], np.intp)
        numbers, marks = np.array([each[1] for each in new], np.int64), [each[2] for each in new]
        values = np.zeros((n, METRICS), np.float32)
        rows = Rows(places + 100, numbers, values, np.zeros(n, np.int16), np.ones(n, np.int32))
        shown = self._ring.show(rows, places, np.array(marks, bool), self.steady_ms)
        self._ring.put(rows, places, shown)
        self.told += new
        whose = (shown.rows.sensor_ids - 100).tolist()
        self.shown += zip(whose, shown.rows.observed_at_ms.tolist(), strict=True)
        for sensor in set(whose):
            self.messages[sensor] += 1


NO_RATION_LEFT = Life()


@settings(max_examples=60)
@given(commits)
def test_every_suspicious_reading_is_shown_once_at_the_latest_with_the_ten_that_follow(
    history: list[Commit],
) -> None:
    life = deepcopy(NO_RATION_LEFT)
    for commit in history:
        life.commit(commit)
    for _ in range(ROWS_BEFORE - 1):
        life.commit((0, [(sensor, False) for sensor in range(SENSORS)]))
    assert {(sensor, number) for sensor, number, odd in life.told if odd} <= set(life.shown)
    assert len(set(life.shown)) == len(life.shown)


@settings(max_examples=60)
@given(commits)
def test_messages_are_rationed_by_time_or_by_readings_whichever_is_longer(
    history: list[Commit],
) -> None:
    life, since_ms = deepcopy(NO_RATION_LEFT), [0] * SENSORS
    earned_s = [float(SPENT)] * SENSORS
    for passed_ms, came in history:
        life.commit((passed_ms, came))
        for sensor in {whose for whose, _ in came}:
            passed_s = (life.steady_ms - since_ms[sensor]) / 1_000
            earned_s[sensor] += max(passed_s, sum(whose == sensor for whose, _ in came))
            since_ms[sensor] = life.steady_ms
    for sensor in range(SENSORS):
        assert life.messages[sensor] <= EVIDENCE_AT_ONCE + EVIDENCE_PER_S * earned_s[sensor]


def test_a_sensor_that_is_read_ten_times_as_fast_is_shown_as_completely() -> None:
    life = deepcopy(NO_RATION_LEFT)
    for number in range(2_000):
        life.commit((100, [(0, number % 20 >= 10)]))
    for _ in range(ROWS_BEFORE - 1):
        life.commit((100, [(0, False)]))
    assert {number for _, number, odd in life.told if odd} <= {number for _, number in life.shown}
    assert life.messages[0] <= EVIDENCE_AT_ONCE + 210
