"""cloud.core.ledger against sets of numbers: what is new, what is known, what is left."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.core.arrivals import Life, Parcel, Unreadable
from cloud.core.ledger import Entry, judge, settle
from cloud.core.receipts import receipt
from tests.support.builders import EPOCH, HUB, NOON, a_batch, a_seal, a_tombstone
from tests.support.cloud import STORE
from wire import ranges
from wire.limits import RANGES_PER_EPOCH_MAX, RANGES_PER_RECEIPT_MAX

LIFE = Life(HUB, EPOCH)
numbers = st.sets(st.integers(0, 60), max_size=25)


def parcel(sequence: int, *, refused: bool = False) -> Parcel:
    content = Unreadable("no rows") if refused else a_batch(sequence)
    return Parcel(a_seal(sequence), 1, content, b"", NOON)


def tomb(low: int, high: int, sequence: int = 99) -> Parcel:
    lost = a_tombstone(sequence, low=low, high=high)
    return Parcel(lost.seal, 2, lost, b"", NOON)


def members(held: ranges.Ranges) -> set[int]:
    return {number for low, high in held for number in range(low, high)}


@given(known=numbers, sent=numbers, refused=numbers, span=st.tuples(numbers, st.integers(1, 20)))
@settings(max_examples=200, deadline=None)
def test_the_ledger_counts_as_a_set_does(
    known: set[int], sent: set[int], refused: set[int], span: tuple[set[int], int]
) -> None:
    low = max(span[0], default=0)
    lost = set(range(low, low + span[1]))
    entry = Entry(ranges.from_numbers(known), next_sequence=max(known, default=-1) + 1)
    parcels = [parcel(n, refused=n in refused) for n in sent] + [tomb(low, low + span[1])]
    verdict = judge(parcels, {LIFE: entry})
    assert {p.key.sequence for p in verdict.known} == sent & known
    assert {p.key.sequence for p in verdict.new} == (sent - known) | {99}
    after = settle({LIFE: entry}, verdict.new)[LIFE]
    assert members(after.received) == known | sent | lost | {99}
    assert members(after.refused) == (refused & sent) - known
    assert members(after.shed) == lost - known - sent
    assert after.next_sequence == 100
    assert judge(parcels, {LIFE: after}).new == []


@given(held=st.sets(st.integers(0, 30), max_size=12), sent=st.sets(st.integers(0, 30), max_size=12))
def test_below_the_bound_nothing_is_left(held: set[int], sent: set[int]) -> None:
    entry = Entry(ranges.from_numbers(held))
    assert judge(map(parcel, sent), {LIFE: entry}).left == []


def test_at_the_bound_only_what_adds_no_range_is_taken() -> None:
    entry = Entry(tuple((3 * n, 3 * n + 1) for n in range(RANGES_PER_EPOCH_MAX)))
    end = 3 * RANGES_PER_EPOCH_MAX
    touching, apart = parcel(1), parcel(end + 1)
    verdict = judge([touching, apart], {LIFE: entry})
    assert (verdict.new, verdict.left) == ([touching], [apart])
    one_fewer = Entry(entry.received[1:])
    assert judge([apart], {LIFE: one_fewer}).new == [apart]


@given(settled=numbers, refused=numbers, asked=numbers)
def test_a_receipt_tells_a_true_part_and_all_of_what_was_asked(
    settled: set[int], refused: set[int], asked: set[int]
) -> None:
    entry = Entry(ranges.from_numbers(settled), ranges.from_numbers(settled & refused))
    told = receipt(STORE, EPOCH, entry, ranges.from_numbers(asked), NOON)
    assert members(told.received) <= settled
    assert settled & asked <= members(told.received)
    assert members(told.refused) == members(told.received) & refused


def test_a_receipt_names_at_most_its_limit_and_never_hides_a_refusal() -> None:
    odd = tuple((2 * n, 2 * n + 1) for n in range(300))
    told = receipt(STORE, EPOCH, Entry(odd), odd, NOON)
    assert told.received == odd[:RANGES_PER_RECEIPT_MAX]
    whole = ((0, 600),)
    told = receipt(STORE, EPOCH, Entry(whole, odd), ((100, 120),), NOON)
    assert members(told.refused) == set(range(100, 120, 2)) == members(told.received)
