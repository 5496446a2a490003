"""Laws of a door's own batches: never called before safe, sent until receipted, bounded."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import gateway.core.virtual_hub as machine
from gateway.core.readings import Readings, batches, stamped
from gateway.core.virtual_hub import SEAL_AFTER_MS, VirtualHub
from tests.support.builders import EPOCH, NOON, NORTH
from wire import ranges
from wire.batch import Batch
from wire.codec import decode, quantise
from wire.ids import HubId
from wire.limits import READINGS_PER_BATCH_MAX, RESEND_AFTER_MS
from wire.metric import METRICS, Metric
from wire.reading import parse_sensor_message

DOOR = HubId("http")


def readings(*rows: tuple[int, int, float]) -> Readings:
    values = np.full((len(rows), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = [ph for _, _, ph in rows]
    return Readings(
        np.array([sensor for sensor, _, _ in rows], np.int64),
        np.array([NOON + at for _, at, _ in rows], np.int64),
        quantise(values),
        np.zeros(len(rows), np.int16),
    )


def told(body: bytes) -> set[tuple[int, int, float]]:
    batch = decode(body)
    assert isinstance(batch, Batch)
    return {
        (sensor, at - NOON, round(float(row[Metric.PH]), 2))
        for sensor, at, row in zip(
            batch.sensor_ids.tolist(), batch.observed_at_ms.tolist(), batch.values, strict=True
        )
    }


ROWS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 3), st.sampled_from([7.0, 7.1, 8.0])),
    min_size=1,
    max_size=5,
)


class DoorMachine(RuleBasedStateMachine):
    """A door between clients and a store; the oracle knows every row and where it is safe."""

    @initialize()
    def open(self) -> None:
        self.hub = VirtualHub(DOOR, NORTH, EPOCH)
        self.now_ms = 0
        self.rows_of: dict[int, set[tuple[int, int, float]]] = {}
        self.called: set[int] = set()
        self.bodies: dict[int, bytes] = {}
        self.safe: set[int] = set()
        self.stored: set[int] = set()
        self.refused: set[int] = set()

    @rule(rows=ROWS)
    def a_client_brings_readings(self, rows: list[tuple[int, int, float]]) -> None:
        ticket = self.hub.admit(readings(*rows), self.now_ms)
        if ticket is not None:
            assert ticket not in self.rows_of
            self.rows_of[ticket] = set(rows)

    @rule(wait_ms=st.sampled_from([1, SEAL_AFTER_MS, RESEND_AFTER_MS, 20 * RESEND_AFTER_MS]))
    def time_passes(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        self.hub.timeout(self.now_ms)
        self.hub.seal(self.now_ms)

    @rule()
    def the_link_takes_what_is_offered(self) -> None:
        for sequence, body in self.hub.offer(self.now_ms):
            assert self.bodies.setdefault(sequence, body) == body, "a sealed batch changed"
            self.hub.sent(sequence, self.now_ms, 0.5)

    @rule()
    def the_link_breaks(self) -> None:
        self.hub.disconnected()

    @rule(data=st.data())
    def a_queue_confirms(self, data: st.DataObject) -> None:
        if self.bodies:
            sequence = data.draw(st.sampled_from(sorted(self.bodies)))
            self.safe.add(sequence)
            self._call(self.hub.confirmed(sequence))

    @rule(data=st.data(), refuses=st.booleans())
    def the_store_settles_some(self, data: st.DataObject, refuses: bool) -> None:
        if self.bodies:
            some = data.draw(st.sets(st.sampled_from(sorted(self.bodies))))
            if refuses:
                self.refused |= some - self.stored
            self.stored |= some
            self._call(
                self.hub.receipt(
                    ranges.from_numbers(self.stored), ranges.from_numbers(self.refused)
                )
            )

    def _call(self, tickets: tuple[int, ...]) -> None:
        assert not self.called & set(tickets), "a ticket was called twice"
        self.called |= set(tickets)
        kept = (self.stored - self.refused) | self.safe
        rows = set().union(*(told(self.bodies[sequence]) for sequence in kept))
        for ticket in tickets:
            assert self.rows_of[ticket] <= rows, "called before every reading was safe"

    @invariant()
    def what_has_no_receipt_is_held(self) -> None:
        assert self.hub.held >= len(self.bodies.keys() - self.stored - self.safe)

    def teardown(self) -> None:
        """Given a link and a store, everybody who was not refused is called."""
        for _ in range(3):
            self.now_ms += 100 * RESEND_AFTER_MS
            self.time_passes(SEAL_AFTER_MS)
            self.the_link_takes_what_is_offered()
            self.stored |= self.bodies.keys()
            self._call(
                self.hub.receipt(
                    ranges.from_numbers(self.stored), ranges.from_numbers(self.refused)
                )
            )
        assert self.refused or self.called == self.rows_of.keys(), "somebody waits for ever"
        assert self.hub.held == 0
        assert self.hub.held_bytes == 0


TestDoorMachine: Any = DoorMachine.TestCase
TestDoorMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.lists(ROWS, min_size=1, max_size=6))
def test_batches_hold_every_reading_once_and_each_instant_once(
    parts: list[list[tuple[int, int, float]]],
) -> None:
    found = batches([readings(*rows) for rows in parts])
    rows = [list(zip(b.sensor_ids.tolist(), b.observed_at_ms.tolist(), strict=True)) for b in found]
    assert all(keys == sorted(set(keys)) for keys in rows)
    said = {(sensor, NOON + at, ph) for part in parts for sensor, at, ph in part}
    kept = {
        (sensor, at, round(float(value[Metric.PH]), 2))
        for b in found
        for sensor, at, value in zip(
            b.sensor_ids.tolist(), b.observed_at_ms.tolist(), b.values, strict=True
        )
    }
    assert kept == said


def test_a_batch_is_cut_at_the_limit_and_not_before() -> None:
    rows = [(sensor, 0, 7.0) for sensor in range(READINGS_PER_BATCH_MAX + 1)]
    assert [len(b) for b in batches([readings(*rows[:-1])])] == [READINGS_PER_BATCH_MAX]
    assert [len(b) for b in batches([readings(*rows)])] == [READINGS_PER_BATCH_MAX, 1]


def test_readings_are_sealed_when_old_or_full_and_not_before() -> None:
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    hub.admit(readings((1, 0, 7.0)), 0)
    assert hub.wake_ms(0) == SEAL_AFTER_MS
    assert (hub.seal(SEAL_AFTER_MS - 1), hub.seal(SEAL_AFTER_MS)) == (0, 1)
    rows = [(sensor, 0, 7.0) for sensor in range(READINGS_PER_BATCH_MAX)]
    hub.admit(readings(*rows[:-1]), 100)
    assert hub.seal(100) == 0
    hub.admit(readings(rows[-1]), 100)
    assert hub.seal(100) == 1


def test_a_batch_without_a_receipt_goes_again_after_its_time_and_not_before() -> None:
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    hub.admit(readings((1, 0, 7.0)), 0)
    hub.seal(SEAL_AFTER_MS)
    (first,) = hub.offer(20)
    hub.sent(first.sequence, 20, 0.0)
    assert (hub.timeout(20 + RESEND_AFTER_MS - 1), hub.offer(20 + RESEND_AFTER_MS - 1)) == (0, [])
    assert hub.timeout(20 + RESEND_AFTER_MS) == 1
    assert hub.offer(20 + RESEND_AFTER_MS) == [first]
    hub.confirmed(first.sequence)
    assert hub.offer(20 + RESEND_AFTER_MS) == [first], "safe is not stored"


def test_at_the_cap_nobody_is_let_in_until_something_is_safe() -> None:
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    for number in range(machine.HELD_BATCHES_MAX):
        assert hub.admit(readings((number, 0, 7.0)), 0) is not None
        hub.seal(SEAL_AFTER_MS)
    assert hub.admit(readings((1, 0, 7.0)), 0) is None
    assert hub.held == machine.HELD_BATCHES_MAX
    hub.confirmed(0)
    assert hub.admit(readings((1, 0, 7.0)), 0) is not None
    assert hub.held == machine.HELD_BATCHES_MAX - 1


def test_open_readings_are_bounded() -> None:
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    rows = readings(*((sensor, 0, 7.0) for sensor in range(1_000)))
    assert [hub.admit(rows, 0) is not None for _ in range(5)] == [True] * 4 + [False]


def test_a_reading_without_a_time_was_observed_when_it_came() -> None:
    body = b'[{"sensor_id":"5","pH":7},{"sensor_id":5,"pH":8},{"sensor_id":6,"pH":70,"temp":9}]'
    found = stamped(parse_sensor_message(body), NOON)
    assert found.observed_at_ms.tolist() == [NOON, NOON + 1, NOON]
    assert found.quality.tolist() == [0, 0, 2]


def test_who_is_in_two_batches_is_called_when_both_are_safe_and_once() -> None:
    hub = VirtualHub(DOOR, NORTH, EPOCH)
    ticket = hub.admit(readings((1, 0, 7.0), (1, 0, 8.0)), 0)
    assert hub.seal(SEAL_AFTER_MS) == 2
    assert hub.confirmed(1) == ()
    assert hub.receipt(((1, 2),), ()) == ()
    assert hub.receipt(((0, 2),), ()) == (ticket,)
    assert hub.receipt(((0, 2),), ()) == ()
