"""wire.token_bucket: never more than burst + rate x time, for any arrival pattern."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.token_bucket import EMPTY_AT_MS, admit


def one_by_one(gaps_ms: list[int], burst: int) -> list[bool]:
    """Return what a textbook bucket of fractional tokens decides: the independent oracle."""
    tokens, at, verdicts = float(burst), 0, []
    now = 0
    for gap_ms in gaps_ms:
        now += gap_ms
        tokens, at = min(burst, tokens + (now - at) / 1_000), now
        verdicts.append(tokens >= 1 - 1e-9)
        tokens -= verdicts[-1]
    return verdicts


@given(st.lists(st.integers(0, 3_000), max_size=100), st.integers(1, 4))
def test_many_at_once_decide_as_a_textbook_bucket_does(gaps_ms: list[int], burst: int) -> None:
    times = np.cumsum(gaps_ms, dtype=np.int64)
    bucket = np.zeros(len(times), np.intp)
    verdict = admit(np.array([EMPTY_AT_MS]), bucket, times, burst=burst)
    assert verdict.admitted.tolist() == one_by_one(gaps_ms, burst)


@pytest.mark.spec("I6")
@given(st.lists(st.integers(0, 3_000), max_size=60), st.integers(1, 4))
def test_no_interval_admits_more_than_burst_plus_rate(gaps_ms: list[int], burst: int) -> None:
    times = np.cumsum(gaps_ms, dtype=np.int64)
    verdict = admit(np.array([EMPTY_AT_MS]), np.zeros(len(times), np.intp), times, burst=burst)
    admitted = times[verdict.admitted].tolist()
    for first, start_ms in enumerate(admitted):
        for last, end_ms in enumerate(admitted[first:], first):
            assert last - first + 1 <= burst + (end_ms - start_ms) / 1_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10_000)), max_size=60), st.data())
def test_splitting_the_requests_changes_nothing(
    requests: list[tuple[int, int]], data: st.DataObject
) -> None:
    bucket = np.array([who for who, _ in requests], np.intp)
    times = np.array([at for _, at in requests], np.int64)
    fresh = np.full(5, EMPTY_AT_MS)
    whole = admit(fresh, bucket, times)
    cut = data.draw(st.integers(0, len(requests)))
    first = admit(fresh, bucket[:cut], times[:cut])
    second = admit(first.due_ms, bucket[cut:], times[cut:])
    assert [*first.admitted, *second.admitted] == whole.admitted.tolist()
    assert second.due_ms.tolist() == whole.due_ms.tolist()


def test_waiting_exactly_the_advised_time_is_enough() -> None:
    zeros = np.zeros(3, np.intp)
    spent = admit(np.array([EMPTY_AT_MS]), zeros, np.zeros(3, np.int64))
    wait_ms = int(spent.retry_after_ms[-1])
    assert not spent.admitted[-1]
    for waited, passes in ((wait_ms - 1, False), (wait_ms, True)):
        again = admit(spent.due_ms, zeros[:1], np.array([waited]))
        assert again.admitted.tolist() == [passes]


def test_a_clock_stepping_back_earns_nothing() -> None:
    spent = admit(np.array([EMPTY_AT_MS]), np.zeros(2, np.intp), np.full(2, 10_000))
    assert not admit(spent.due_ms, np.zeros(1, np.intp), np.array([5_000])).admitted.any()


def test_no_requests_change_nothing() -> None:
    none = np.zeros(0, np.intp)
    assert admit(np.array([7]), none, none.astype(np.int64)).due_ms.tolist() == [7]
