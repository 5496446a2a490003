"""Packet frames: how long a packet says it is, and whether it may be read at all."""

from enum import IntEnum
from typing import Final

from gateway.core.connect import MalformedPacketError

HEADER_BYTES_MAX: Final = 5


class Kind(IntEnum):
    """The packets a client may send after CONNECT."""

    CONNECT = 1
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10
    PINGREQ = 12
    DISCONNECT = 14


def body_bytes(header: bytes | bytearray, *, bytes_max: int) -> int | None:
    """Return how many bytes follow a fixed header; None while the header is incomplete.

    Raises:
        MalformedPacketError: The length is not one, or above ``bytes_max``.
    """
    length = 0
    for place, byte in enumerate(header[1:]):
        length |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            if length > bytes_max:
                raise MalformedPacketError(f"a packet of {length} bytes; the limit is {bytes_max}")
            return length
    if len(header) >= HEADER_BYTES_MAX:
        raise MalformedPacketError("a length of more than four bytes")
    return None


def check(header: int, body: bytes) -> None:
    """Judge a packet by its first byte and what follows the length.

    Raises:
        MalformedPacketError: No client may send this here: an unknown or second CONNECT, QoS 2
            (the platform never uses it), a PUBLISH to a filter instead of a topic.
    """
    try:
        kind = Kind(header >> 4)
    except ValueError as exc:
        raise MalformedPacketError(f"packet type {header >> 4}") from exc
    if kind is Kind.CONNECT:
        raise MalformedPacketError("a second CONNECT")
    if kind is Kind.PUBLISH:
        _check_publish(header, body)


def _check_publish(header: int, body: bytes) -> None:
    qos, duplicate = header >> 1 & 3, bool(header & 8)
    if qos > 1 or (duplicate and qos == 0):
        raise MalformedPacketError(f"PUBLISH with QoS {qos}, duplicate {duplicate}")
    end = 2 + int.from_bytes(body[:2], "big")
    name = body[2:end]
    if not name or end + 2 * qos > len(body) or set(name) & set(b"+#\x00"):
        raise MalformedPacketError("PUBLISH without a topic")
