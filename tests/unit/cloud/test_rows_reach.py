"""History is taken as far back as the platform says, and never from too many months at once."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.core.errors import OperatorError
from cloud.core.reach import Reach
from cloud.core.rows import FAULTS, FINE, MONTHS_PER_FLUSH_MAX, Fault, gather, months, screen
from cloud.settings import Settings, read
from tests.support.builders import NOON, a_batch, a_seal
from wire.batch import Flag

MONTH_MS = 31 * 86_400_000
FROM_THE_FLOOD = Reach(backfill_from_ms=-(10**15))
EXPIRED = FAULTS.index(Fault.EXPIRED)


def faults_of(times: list[int], reach: Reach, flags: Flag = Flag.BACKFILL) -> list[int]:
    floor_ms = 0 if Flag.BACKFILL in flags else -1
    batch = a_batch(seal=a_seal(flags=flags, floor_ms=floor_ms), times=sorted(times))
    rows = gather([batch])
    nobody = np.full(len(rows), FINE, np.int8)
    return [int(one) for one in screen(rows, [batch.seal], nobody, NOON, reach)]


@given(st.integers(1, NOON), st.sampled_from([-1, 0]), st.booleans())
def test_a_backfill_reaches_back_to_its_own_floor_or_the_platforms_whichever_is_later(
    from_ms: int, edge: int, own: bool
) -> None:
    batch = a_batch(
        seal=a_seal(flags=Flag.BACKFILL, floor_ms=from_ms if own else 0), times=[from_ms + edge]
    )
    reach = Reach(backfill_from_ms=0 if own else from_ms)
    nobody = np.full(1, FINE, np.int8)
    found = screen(gather([batch]), [batch.seal], nobody, NOON, reach).tolist()
    assert found == [EXPIRED if edge < 0 else FINE]


def test_of_too_many_months_the_fullest_are_taken_and_the_present_always() -> None:
    ages = [NOON - 600 * MONTH_MS + at * MONTH_MS for at in range(300)]
    full = [ages[150] + second * 1_000 for second in range(1, 20)]
    times = sorted([*ages, *full, NOON])
    found = np.array(faults_of(times, FROM_THE_FLOOD))
    taken = np.array(times)[found == FINE]
    assert NOON in taken
    assert set(full) <= set(taken.tolist())
    history = np.unique(taken[taken != NOON].astype("M8[ms]").astype("M8[M]"))
    assert len(history) == MONTHS_PER_FLUSH_MAX
    assert (found[found != FINE] == EXPIRED).all()


def test_as_many_months_as_may_be_are_taken_whole() -> None:
    times = [NOON - (600 - at) * MONTH_MS for at in range(MONTHS_PER_FLUSH_MAX)]
    assert set(faults_of(times, FROM_THE_FLOOD)) == {FINE}
    before = [NOON - 640 * MONTH_MS]
    assert faults_of([*before, *times], FROM_THE_FLOOD).count(EXPIRED) == 1


def test_the_shipped_records_are_within_the_platforms_own_reach() -> None:
    for day in (datetime(2016, 2, 15, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC)):
        at_ms = int(day.timestamp()) * 1_000
        assert faults_of([at_ms], Reach()) == [FINE]


def test_the_operator_says_how_far_back() -> None:
    said = {"HEADGATE_DATABASE_URL": "postgresql://x", "HEADGATE_BACKFILL_FROM": "1999-12-31"}
    assert read(Settings, said).reach == Reach(backfill_from_ms=946_598_400_000)
    said.pop("HEADGATE_BACKFILL_FROM")
    assert read(Settings, said).reach == Reach()
    assert read(Settings, said).backfill_from == date(2015, 1, 1)
    with pytest.raises(OperatorError, match="HEADGATE_BACKFILL_FROM=yesterday"):
        read(Settings, said | {"HEADGATE_BACKFILL_FROM": "yesterday"})


def test_months_are_opened_for_accepted_rows_only() -> None:
    batch = a_batch(seal=a_seal(flags=Flag.BACKFILL, floor_ms=0), times=[0, NOON])
    rows = gather([batch])
    fine = screen(rows, [batch.seal], np.full(2, FINE, np.int8), NOON, Reach()) == FINE
    assert len(months(rows.take(fine))) == 1
