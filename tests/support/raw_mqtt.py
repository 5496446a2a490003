"""MQTT 3.1.1 byte by byte: what a client library would not send, and how a broker answers."""

import asyncio
import ssl
from typing import Final

WITHIN_S: Final = 20.0
CONNACK: Final = b"\x20\x02\x00\x00"


async def answer_to(port: int, context: ssl.SSLContext, client_id: str, packet: bytes) -> bytes:
    """Connect, say one thing, then ask for an answer: return what came before the end.

    A broker that refused closes the connection and no PINGRESP follows; a PUBACK may follow one.
    """
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        try:
            writer.write(connect(client_id))
            assert await reader.readexactly(4) == CONNACK, client_id
            writer.write(packet + b"\xc0\x00")
            said = b""
            while b"\xd0\x00" not in said and (more := await reader.read(4_096)):
                said += more
            return said
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""
        finally:
            writer.transport.abort()


def connect(client_id: str) -> bytes:
    """Return a CONNECT with a clean session."""
    return packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text(client_id))


def publish(topic: str, body: bytes) -> bytes:
    """Return a PUBLISH at QoS 1, packet 1."""
    return packet(0x32, text(topic) + b"\x00\x01" + body)


def subscribe(topic_filter: str) -> bytes:
    """Return a SUBSCRIBE at QoS 1, packet 1."""
    return packet(0x82, b"\x00\x01" + text(topic_filter) + b"\x01")


def packet(kind: int, body: bytes) -> bytes:
    """Return a packet with its length in front."""
    length, header = len(body), bytes((kind,))
    while True:
        length, low = divmod(length, 128)
        header += bytes((low | (0x80 if length else 0),))
        if not length:
            return header + body


def text(value: str) -> bytes:
    """Return a string as MQTT carries it."""
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw
