"""wire.batch: a batch that could not legally exist cannot be made."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.builders import NOON, a_batch, a_seal, a_tombstone
from wire.batch import Kind
from wire.ids import Epoch, UnixMs
from wire.limits import READINGS_PER_BATCH_MAX, SENSOR_ID_MAX, TIME_MS_MAX
from wire.metric import METRICS


@pytest.mark.parametrize("n", [1, READINGS_PER_BATCH_MAX])
def test_both_ends_of_the_size_range_are_legal(n: int) -> None:
    assert len(a_batch(sensors=np.arange(n))) == n


@pytest.mark.parametrize("n", [0, READINGS_PER_BATCH_MAX + 1])
def test_beyond_both_ends_is_not(n: int) -> None:
    with pytest.raises(ValueError, match=f"holds {n}"):
        a_batch(sensors=np.arange(n))


def test_the_far_ends_of_ids_and_times_are_legal() -> None:
    a_batch(sensors=[0, SENSOR_ID_MAX], times=[0, TIME_MS_MAX])


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"sensors": [-1]}, "sensor id"),
        ({"times": [-1]}, "time"),
        ({"times": [TIME_MS_MAX + 1]}, "time"),
        ({"samples": [0]}, "samples"),
        ({"quality": [-1]}, "quality"),
        ({"ph": [np.inf]}, "infinite"),
        ({"sensors": [2, 1]}, "sorted"),
        ({"sensors": [1, 1]}, "sorted"),
        ({"sensors": [1, 1], "times": [NOON, NOON - 1]}, "sorted"),
        ({"seal": a_seal(kind=Kind.SHED)}, "tombstone"),
    ],
)
def test_illegal_batches_say_why(case: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        a_batch(**case)


def test_one_sensor_may_speak_at_rising_instants() -> None:
    assert len(a_batch(sensors=[1, 1, 2], times=[NOON, NOON + 1, NOON])) == 3


def test_columns_must_agree_in_length() -> None:
    with pytest.raises(ValueError, match="differ"):
        replace(a_batch(sensors=[1, 2]), values=np.zeros((1, METRICS), np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"low": 5},
        {"low": -1},
        {"high": 10},
        {"observed_to_ms": UnixMs(0)},
        {"reason": ""},
        {"reason": "x" * 201},
        {"rows": -1},
        {"seal": a_seal(9)},
    ],
    ids=str,
)
def test_a_tombstone_names_only_what_its_hub_sealed_before(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="batch"):
        replace(a_tombstone(sequence=9, low=2, high=5), **change)


def test_a_tombstone_may_name_everything_before_itself_and_any_of_an_earlier_life() -> None:
    replace(a_tombstone(sequence=9), low=0, high=9)
    replace(a_tombstone(sequence=9), epoch=Epoch(1), high=10_000)
