"""wire.control: what is said arrives as said; what could not be true is refused."""

import zlib
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import ranges
from wire.control import (
    Health,
    Held,
    Hello,
    Receipt,
    decode_health,
    decode_hello,
    decode_receipt,
    encode_health,
    encode_hello,
    encode_receipt,
)
from wire.errors import MalformedMessageError
from wire.ids import Epoch, UnixMs
from wire.limits import (
    CONTROL_BYTES_MAX,
    EPOCHS_PER_HELLO_MAX,
    RANGES_PER_RECEIPT_MAX,
    SEQUENCE_MAX,
)
from wire.ranges import Ranges

STORE = UUID("00000000-0000-4000-8000-000000000001")


def sealed(fields: object, version: int = 1) -> bytes:
    """Return a whole message with a true checksum that says whatever it likes."""
    payload = msgpack.packb(fields)
    return bytes(msgpack.packb([version, payload, zlib.crc32(payload, version)]))


epochs = st.integers(0, 2**63 - 1).map(Epoch)
sets = st.lists(
    st.tuples(st.integers(0, SEQUENCE_MAX), st.integers(0, SEQUENCE_MAX)), max_size=30
).map(ranges.normal)


@given(epochs, sets, sets)
def test_a_receipt_arrives_as_sent(epoch: Epoch, received: Ranges, other: Ranges) -> None:
    refused = ranges.intersect(received, other)[:RANGES_PER_RECEIPT_MAX]
    receipt = Receipt(STORE, epoch, received, refused, UnixMs(5))
    assert decode_receipt(encode_receipt(receipt)) == receipt


@given(
    st.lists(
        st.builds(Held, epochs, st.integers(0, SEQUENCE_MAX), sets), max_size=EPOCHS_PER_HELLO_MAX
    )
)
def test_a_hello_arrives_as_sent(held: list[Held]) -> None:
    assert decode_hello(encode_hello(Hello(tuple(held)))) == Hello(tuple(held))


def test_health_arrives_as_sent() -> None:
    health = Health(True, "0.1.0", ((Epoch(5), 7),), False, UnixMs(9), {"spool_batches": 3})
    assert decode_health(encode_health(health)) == health


def test_the_largest_legal_messages_fit_their_frame() -> None:
    step = SEQUENCE_MAX // (2 * RANGES_PER_RECEIPT_MAX)
    widest = tuple((step * 2 * n, step * (2 * n + 1)) for n in range(RANGES_PER_RECEIPT_MAX))
    held = Held(Epoch(2**63 - 1), SEQUENCE_MAX, widest)
    assert len(encode_hello(Hello((held,) * EPOCHS_PER_HELLO_MAX))) <= CONTROL_BYTES_MAX
    receipt = Receipt(STORE, Epoch(2**63 - 1), widest, widest, UnixMs(2**47))
    assert len(encode_receipt(receipt)) <= CONTROL_BYTES_MAX


@pytest.mark.parametrize(
    ("received", "refused"),
    [
        ([[3, 3]], []),
        ([[5, 3]], []),
        ([[0, 3], [3, 5]], []),
        ([[4, 5], [0, 1]], []),
        ([[-1, 5]], []),
        ([[0, 2**53 + 1]], []),
        ([[0, 3]], [[2, 4]]),
        ([[2 * n, 2 * n + 1] for n in range(65)], []),
        ([[0.0, 3]], []),
        ([[0, 1, 2]], []),
        ("ranges", []),
    ],
)
def test_a_receipt_that_cannot_be_true_is_refused(received: object, refused: object) -> None:
    with pytest.raises(MalformedMessageError):
        decode_receipt(sealed([STORE.bytes, 5, received, refused, 0]))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [b"short", 5, [], [], 0],
        [STORE.bytes, True, [], [], 0],
        [STORE.bytes, 5, [], []],
        {"store": 1},
        7,
    ],
)
def test_other_shapes_are_no_receipt(fields: object) -> None:
    with pytest.raises(MalformedMessageError):
        decode_receipt(sealed(fields))


def test_another_version_is_refused() -> None:
    with pytest.raises(MalformedMessageError, match="version"):
        decode_receipt(sealed([STORE.bytes, 5, [], [], 0], version=2))


@given(sets, st.data())
def test_a_flipped_bit_never_makes_a_hub_forget(received: Ranges, data: st.DataObject) -> None:
    body = bytearray(encode_receipt(Receipt(STORE, Epoch(5), received, (), UnixMs(5))))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MalformedMessageError):
        decode_receipt(bytes(body))


def test_gauges_are_bounded_in_number_and_kind() -> None:
    many = {f"gauge_{n}": n for n in range(65)}
    wrong: list[object] = [many, {"spool": "full"}, {"spool": -1}, {"x" * 65: 1}, []]
    for gauges in wrong:
        body = sealed([True, "0.1.0", [], True, 0, gauges])
        with pytest.raises(MalformedMessageError):
            decode_health(body)
