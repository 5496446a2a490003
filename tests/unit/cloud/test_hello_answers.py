"""A hello is owed one receipt for each life it names: without it the hub waits to resend."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.core.arrivals import Life, sort_out
from cloud.core.ledger import Entry
from cloud.core.receipts import answers
from tests.support.builders import HUB, NOON, NORTH
from tests.support.cloud import STORE, Lent
from wire import ranges
from wire.control import Held, Hello, decode_receipt, encode_hello
from wire.ids import Epoch
from wire.limits import EPOCHS_PER_HELLO_MAX, RANGES_PER_RECEIPT_MAX
from wire.topics import Channel, topic

RECEIPTS = topic(NORTH, HUB, Channel.RECEIPT)
numbers = st.sets(st.integers(0, 50), max_size=RANGES_PER_RECEIPT_MAX // 2)


@given(
    named=st.dictionaries(st.integers(0, 2**63 - 1), numbers, max_size=EPOCHS_PER_HELLO_MAX),
    known=st.dictionaries(st.integers(0, 2**63 - 1), numbers, max_size=3),
)
def test_each_life_named_is_answered_once_be_it_with_nothing(
    named: dict[int, set[int]], known: dict[int, set[int]]
) -> None:
    held = tuple(
        Held(Epoch(epoch), max(those, default=-1) + 1, ranges.from_numbers(those))
        for epoch, those in named.items()
    )
    lent = Lent(topic(NORTH, HUB, Channel.HELLO), encode_hello(Hello(held)))
    entries = {
        Life(HUB, Epoch(epoch)): Entry(ranges.from_numbers(those)) for epoch, those in known.items()
    }
    entries |= {Life(HUB, one.epoch): Entry(one.held) for one in held[::2]}
    owed = answers(sort_out([lent]), entries, STORE, NOON)
    assert {name for name, _ in owed} <= {RECEIPTS}
    receipts = [decode_receipt(body) for _, body in owed]
    assert sorted(receipt.epoch for receipt in receipts) == sorted(named)
    for receipt in receipts:
        entry = entries.get(Life(HUB, receipt.epoch), Entry())
        assert not ranges.minus(receipt.received, entry.received)
        asked = ranges.from_numbers(named[receipt.epoch])
        assert not ranges.minus(ranges.intersect(asked, entry.received), receipt.received)
