"""gateway.core.connect and packet: hostile bytes end in one kind of error."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.connect import Connect, MalformedPacketError, parse_connect
from gateway.core.packet import body_bytes, check


def a_connect(flags: int, *fields: bytes) -> bytes:
    head = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x3c"
    return head + b"".join(struct.pack("!H", len(each)) + each for each in fields)


def test_a_connect_is_read_whole() -> None:
    body = a_connect(0xC6, b"hub-1", b"will/topic", b"will", b"user", b"token")
    assert parse_connect(body) == Connect("hub-1", True, 60, "user", "token", "will/topic")
    assert parse_connect(a_connect(0x00, b"")) == Connect("", False, 60, "", "", None)


@given(st.binary(max_size=64) | st.binary(max_size=40).map(lambda b: a_connect(0xC6)[:8] + b))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    try:
        parse_connect(body)
    except MalformedPacketError:
        return


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_cut_connect_is_refused(cut: int) -> None:
    body = a_connect(0xC2, b"hub-1", b"user", b"token")
    if cut < len(body):
        with pytest.raises(MalformedPacketError):
            parse_connect(body[:-cut])


@given(st.integers(0, 2**28 - 1), st.integers(0, 2**28))
def test_lengths_are_read_to_the_last_bit_and_bounded(length: int, limit: int) -> None:
    header, rest = b"\x30", length
    while True:
        rest, low = divmod(rest, 128)
        header += bytes([low | (0x80 if rest else 0)])
        if not rest:
            break
    assert all(body_bytes(header[:n], bytes_max=limit) is None for n in range(1, len(header)))
    if length <= limit:
        assert body_bytes(header, bytes_max=limit) == length
    else:
        with pytest.raises(MalformedPacketError):
            body_bytes(header, bytes_max=limit)


def test_a_fifth_length_byte_is_refused() -> None:
    with pytest.raises(MalformedPacketError):
        body_bytes(b"\x30\x80\x80\x80\x80", bytes_max=1)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (0x10, b""),
        (0x20, b""),
        (0x00, b""),
        (0xF0, b""),
        (0x34, b"\x00\x01t\x00\x01"),  # QoS 2
        (0x36, b"\x00\x01t\x00\x01"),  # QoS 3
        (0x38, b"\x00\x01t"),  # a duplicate that cannot be one
        (0x30, b"\x00\x00"),
        (0x30, b"\x00\x05ab"),
        (0x32, b"\x00\x01t\x00"),  # half a packet identifier
        (0x30, b"\x00\x03a/+"),
        (0x30, b"\x00\x01#"),
        (0x30, b"\x00\x02a\x00"),
    ],
)
def test_packets_no_client_may_send_are_refused(header: int, body: bytes) -> None:
    with pytest.raises(MalformedPacketError):
        check(header, body)
