"""MQTT 3.1.1 packets of sensors, as far as the listener must know them before its broker does.

Only a PUBLISH is looked into: readings go straight to the intake, at the pace it can take them.
Everything else (connecting, subscribing, pings) passes through whole.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

LENGTH_BYTES_MAX: Final = 4
PACKET_ID_BYTES: Final = 2


class Type(IntEnum):
    """The packets that matter here."""

    CONNECT = 1
    PUBLISH = 3
    PUBREL = 6


class Answer(IntEnum):
    """First byte of the packets that acknowledge."""

    PUBACK = 0x40
    PUBREC = 0x50
    PUBCOMP = 0x70


@dataclass(frozen=True, slots=True)
class Publish:
    """A sensor's message.

    Attributes:
        topic: As sent; not yet judged.
        body: As sent.
        packet_id: Of QoS 1 and 2; None for QoS 0.
        answer: What acknowledges it; None for QoS 0.
    """

    topic: str
    body: bytes
    packet_id: int | None
    answer: Answer | None


def length_of(encoded: bytes) -> int | None:
    """Return the length a packet's length bytes spell so far, or None if more bytes belong to it.

    Raises:
        ValueError: No packet has such a length.
    """
    if encoded and encoded[-1] < 0x80:
        return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(encoded))
    if len(encoded) >= LENGTH_BYTES_MAX:
        raise ValueError("a packet's length has more than four bytes")
    return None


def read_publish(first: int, rest: bytes) -> Publish:
    """Return the message in a PUBLISH packet.

    Args:
        first: The packet's first byte.
        rest: Everything after its length.

    Raises:
        ValueError: It is cut short, or no MQTT.
    """
    qos = first >> 1 & 0b11
    at = 2 + int.from_bytes(rest[:2], "big")
    end = at + (PACKET_ID_BYTES if qos else 0)
    if qos == 0b11 or len(rest) < max(2, end):
        raise ValueError("a publish packet is no MQTT")
    packet_id = int.from_bytes(rest[at:end], "big") if qos else None
    answer = {0: None, 1: Answer.PUBACK, 2: Answer.PUBREC}[qos]
    return Publish(rest[2:at].decode(), rest[end:], packet_id, answer)


def acknowledge(answer: Answer, packet_id: int) -> bytes:
    """Return the packet that acknowledges ``packet_id``."""
    return bytes((answer, PACKET_ID_BYTES)) + packet_id.to_bytes(PACKET_ID_BYTES, "big")


def publish_packet(topic: str, body: bytes) -> bytes:
    """Return a QoS 0 PUBLISH packet."""
    name = topic.encode()
    rest = len(name).to_bytes(2, "big") + name + body
    return bytes((Type.PUBLISH << 4,)) + _length_bytes(len(rest)) + rest


def _length_bytes(length: int) -> bytes:
    encoded = bytearray()
    while length >= 0x80:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
