"""The first packet of a connection, read before anything is allocated for the client."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wire.errors import PeerError

_PROTOCOL: Final = b"\x00\x04MQTT\x04"  # 3.1.1
_CLEAN, _WILL, _WILL_RETAIN, _PASSWORD, _USER = 0x02, 0x04, 0x20, 0x40, 0x80


class Refusal(IntEnum):
    """CONNACK return codes of MQTT 3.1.1."""

    PROTOCOL = 1
    CLIENT_ID = 2
    CREDENTIALS = 4
    NOT_AUTHORISED = 5


class MalformedPacketError(PeerError):
    """The bytes are not the MQTT they claim to be."""


@dataclass(frozen=True, slots=True)
class Connect:
    """What a client wants and who it says it is."""

    client_id: str
    clean: bool
    keep_alive_s: int
    user: str
    password: str
    will_topic: str | None


def parse_connect(body: bytes) -> Connect:
    """Return what a CONNECT packet says, from the bytes after its fixed header.

    Raises:
        MalformedPacketError: It is not a CONNECT of MQTT 3.1.1.
    """
    if not body.startswith(_PROTOCOL) or len(body) < 10:
        raise MalformedPacketError("not MQTT 3.1.1")
    flags, keep_alive_s = body[7], int.from_bytes(body[8:10], "big")
    fields = _Fields(body, 10)
    client_id = fields.text()
    will_topic = None
    if flags & _WILL:
        will_topic = fields.text()
        fields.blob()
    user = fields.text() if flags & _USER else ""
    password = fields.text() if flags & _PASSWORD else ""
    if flags & 0x01 or fields.left:
        raise MalformedPacketError("reserved bits or trailing bytes")
    return Connect(client_id, bool(flags & _CLEAN), keep_alive_s, user, password, will_topic)


def connack(refusal: Refusal) -> bytes:
    """Return the packet that refuses a connection."""
    return bytes((0x20, 0x02, 0x00, refusal))


class _Fields:
    """A cursor over length-prefixed fields."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def blob(self) -> bytes:
        start = self._at + 2
        end = start + int.from_bytes(self._body[self._at : start], "big")
        if end > len(self._body) or start > len(self._body):
            raise MalformedPacketError("a field ends after its packet")
        self._at = end
        return self._body[start:end]

    def text(self) -> str:
        try:
            return self.blob().decode()
        except UnicodeDecodeError as exc:
            raise MalformedPacketError("a text is not UTF-8") from exc
