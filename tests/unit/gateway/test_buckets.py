"""A door's own buckets are ``wire.token_bucket``'s, a message let in whole or not at all."""

import numpy as np
import pytest
from hypothesis import given

from gateway.core.buckets import LATE_BURST, LATE_SLACK_MS, LocalBuckets
from gateway.core.repeats import KEYS_MAX, REMEMBERED_MS, Repeats
from tests.support.builders import NOON
from tests.support.tokens import MESSAGES, Oracle
from wire.ids import UnixMs
from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S


@pytest.mark.spec("I6")
@given(MESSAGES)
def test_a_message_is_let_in_exactly_when_each_of_its_readings_would_be(
    messages: list[tuple[int, list[int]]],
) -> None:
    buckets, oracle, now_ms = LocalBuckets(), Oracle(), NOON
    for wait_ms, sensors in messages:
        now_ms = UnixMs(now_ms + wait_ms)
        (wait,) = buckets.take([np.array(sensors)], now_ms)
        assert (wait == 0) == oracle.take(sensors, now_ms)
        if wait and max(map(sensors.count, sensors)) <= SENSOR_BURST:
            assert not oracle.would(sensors, now_ms + wait - 1), "told to wait too long"
            assert oracle.would(sensors, now_ms + wait), "told to come too early"


def test_no_sensor_gets_more_than_its_rate_and_everyone_gets_it() -> None:
    buckets = LocalBuckets()
    let_in = sum(buckets.take([np.array([1])], NOON + at) == [0] for at in range(0, 60_000, 10))
    assert let_in == SENSOR_BURST + 59 * SENSOR_RATE_PER_S


def test_an_hour_said_late_is_let_in_at_once_and_after_it_a_reading_a_second() -> None:
    buckets, sensor = LocalBuckets(slack_ms=LATE_SLACK_MS), np.array([1])
    assert buckets.take([np.ones(LATE_BURST, np.int64), sensor], NOON) == [0, 1_000]
    assert buckets.take([sensor, sensor], NOON + 1_000) == [0, 1_000]


def test_buckets_are_bounded_and_full_ones_make_room() -> None:
    buckets = LocalBuckets(most=4)
    waits = buckets.take([np.array([n]) for n in range(6)], NOON)
    assert [wait == 0 for wait in waits] == [True] * 4 + [False] * 2
    assert len(buckets) == 4
    assert buckets.take([np.array([9])], NOON + 1_000) == [0]
    assert len(buckets) == 1


def test_a_key_keeps_its_first_time_and_its_body() -> None:
    repeats = Repeats()
    assert repeats.first("a", b"1", NOON) == NOON
    later = UnixMs(NOON + REMEMBERED_MS)
    assert repeats.first("a", b"1", later) == NOON
    assert repeats.first("a", b"2", later) is None
    assert repeats.first("a", b"1", UnixMs(later + 1)) == later + 1


def test_keys_are_bounded_the_oldest_forgotten_first() -> None:
    repeats = Repeats()
    for number in range(KEYS_MAX + 1):
        repeats.first(str(number), b"", NOON)
    later = UnixMs(NOON + 1)
    assert (repeats.first("1", b"", later), repeats.first("0", b"", later)) == (NOON, later)
