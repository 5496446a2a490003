"""Holes explained, against a rule for one sequence at a time."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.core.gaps import Cause, Heard, Hole, explain
from wire.ids import Epoch, HubId, Region

numbers = st.integers(0, 30)
heard = st.none() | st.builds(
    Heard, st.none() | numbers, st.none() | st.integers(0, 2), st.booleans()
)


def hole(low: int, high: int, settled: Cause | None, said: Heard | None) -> Hole:
    since = datetime(2026, 11, 20, tzinfo=UTC)
    return Hole(HubId("hub-1"), Region("north"), Epoch(7), low, high, settled, since, heard=said)


def cause_of(sequence: int, settled: Cause | None, said: Heard | None) -> Cause:
    """Judge one sequence, in the words of the specification."""
    if settled:
        return settled
    if said is None:
        return Cause.PENDING  # nobody has said anything
    if said.next_sequence is None:  # the hub holds nothing of this life
        return Cause.LOST if said.after_ledger else Cause.PENDING
    if sequence >= said.next_sequence:
        return Cause.PENDING  # sealed after the hub spoke
    return Cause.LOST if said.spool_batches == 0 else Cause.HELD


@pytest.mark.spec("I12")
@given(
    low=numbers,
    length=st.integers(1, 12),
    settled=st.sampled_from([None, None, Cause.REFUSED, Cause.SHED]),
    said=heard,
)
def test_every_sequence_of_a_hole_has_the_one_cause_the_rule_gives_it(
    low: int, length: int, settled: Cause | None, said: Heard | None
) -> None:
    parts = explain(hole(low, low + length, settled, said))
    told = [(number, cause) for a, b, cause in parts for number in range(a, b)]
    assert told == [(n, cause_of(n, settled, said)) for n in range(low, low + length)]
    assert all(a < b for a, b, _ in parts)


def test_an_empty_spool_means_lost_only_below_what_was_announced() -> None:
    said = Heard(next_sequence=5, spool_batches=0, after_ledger=True)
    assert explain(hole(3, 9, None, said)) == ((3, 5, Cause.LOST), (5, 9, Cause.PENDING))
    assert explain(hole(5, 9, None, said)) == ((5, 9, Cause.PENDING),)
    assert explain(hole(3, 5, None, said)) == ((3, 5, Cause.LOST),)
