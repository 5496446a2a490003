"""What hub and cloud tell each other about batches: receipt, hello, health.

A msgpack array ``[version, payload, crc]``; the payload is the message's own array, the CRC-32 over
it is seeded with the version: a receipt damaged on its way must not make a hub forget.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from uuid import UUID

from wire import ranges
from wire.errors import MalformedMessageError
from wire.ids import Epoch, UnixMs
from wire.limits import (
    CONTROL_BYTES_MAX,
    EPOCH_BITS,
    EPOCHS_PER_HELLO_MAX,
    NAME_CHARS_MAX,
    RANGES_PER_RECEIPT_MAX,
    SEQUENCE_MAX,
    TIME_MS_MAX,
)
from wire.pack import UNPACKABLE, pack, unpack
from wire.ranges import Ranges

VERSION: Final = 1
COUNTERS_MAX: Final = 64
_COUNT_MAX: Final = 2**63 - 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Receipt:
    """The store has decided the fate of these sequences; the hub may forget them.

    Any subset of the store's ledger is a true receipt, so receipts may be lost, doubled and
    reordered; the hub takes their union.

    Attributes:
        store_id: Whose promise this is. A hub pins one store and ignores all others.
        epoch: Which life of the hub the ranges count in.
        received: Settled sequences: stored, refused or shed. At most 64 ranges.
        refused: Those of ``received`` that were refused: the hub moves them to its quarantine.
        now_ms: The cloud's clock, for hubs without a trusted one.
    """

    store_id: UUID
    epoch: Epoch
    received: Ranges
    refused: Ranges
    now_ms: UnixMs


@dataclass(frozen=True, slots=True)
class Held:
    """What a hub still holds of one epoch.

    Attributes:
        epoch: Which life of the hub.
        next_sequence: The sequence its next batch will take: everything below was once sealed.
        held: Sequences without a receipt, oldest first, at most 64 ranges.
    """

    epoch: Epoch
    next_sequence: int
    held: Ranges


@dataclass(frozen=True, slots=True)
class Hello:
    """A hub asks after a reconnect: what of this do you have? At most 48 epochs."""

    epochs: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """A hub's state, every minute, and retained as its birth on the status channel.

    Attributes:
        online: False only in the last will.
        version: The agent's version.
        epochs: ``(epoch, next_sequence)`` of every life of the hub it still holds batches of, and
            of the present one: what lets the store see a missing tail.
        clock_trusted: Whether the hub dates readings itself yet.
        gauges: Names to numbers: spool depths, disk free, counters since start. At most 64.
        at_ms: The hub's clock.
    """

    online: bool
    version: str
    epochs: tuple[tuple[Epoch, int], ...]
    clock_trusted: bool
    at_ms: UnixMs
    gauges: dict[str, int] = field(default_factory=dict)


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the wire form."""
    return _sealed(
        [
            receipt.store_id.bytes,
            receipt.epoch,
            receipt.received,
            receipt.refused,
            receipt.now_ms,
        ]
    )


def decode_receipt(body: bytes) -> Receipt:
    """Return the receipt in ``body``.

    Raises:
        MalformedMessageError: It is none. Nothing else escapes.
    """

    def read(fields: list[Any]) -> Receipt:
        store_id, epoch, received, refused, now_ms = fields
        if type(store_id) is not bytes or len(store_id) != 16:
            raise ValueError("store id is no UUID")
        receipt = Receipt(
            UUID(bytes=store_id),
            _epoch(epoch),
            _ranges(received),
            _ranges(refused),
            UnixMs(_natural(now_ms, TIME_MS_MAX)),
        )
        if ranges.minus(receipt.refused, receipt.received):
            raise ValueError("refuses what it did not receive")
        return receipt

    return _read(body, read)


def encode_hello(hello: Hello) -> bytes:
    """Return the wire form."""
    return _sealed([[(held.epoch, held.next_sequence, held.held) for held in hello.epochs]])


def decode_hello(body: bytes) -> Hello:
    """Return the hello in ``body``.

    Raises:
        MalformedMessageError: It is none. Nothing else escapes.
    """

    def read(fields: list[Any]) -> Hello:
        (epochs,) = fields
        return Hello(
            tuple(
                Held(_epoch(epoch), _natural(next_sequence, SEQUENCE_MAX), _ranges(held))
                for epoch, next_sequence, held in _listed(epochs, EPOCHS_PER_HELLO_MAX)
            )
        )

    return _read(body, read)


def encode_health(health: Health) -> bytes:
    """Return the wire form."""
    return _sealed(
        [
            health.online,
            health.version,
            health.epochs,
            health.clock_trusted,
            health.at_ms,
            health.gauges,
        ]
    )


def decode_health(body: bytes) -> Health:
    """Return the health in ``body``.

    Raises:
        MalformedMessageError: It is none. Nothing else escapes.
    """

    def read(fields: list[Any]) -> Health:
        online, version, epochs, clock_trusted, at_ms, gauges = fields
        if type(online) is not bool or type(clock_trusted) is not bool or type(gauges) is not dict:
            raise ValueError("a field has another type")
        if len(gauges) > COUNTERS_MAX:
            raise ValueError("has too many gauges")
        return Health(
            online,
            _text(version),
            tuple(
                (_epoch(epoch), _natural(next_sequence, SEQUENCE_MAX))
                for epoch, next_sequence in _listed(epochs, EPOCHS_PER_HELLO_MAX)
            ),
            clock_trusted,
            UnixMs(_natural(at_ms, TIME_MS_MAX)),
            {_text(name): _natural(number, _COUNT_MAX) for name, number in gauges.items()},
        )

    return _read(body, read)


def _sealed(fields: list[Any]) -> bytes:
    payload = pack(fields)
    return pack([VERSION, payload, zlib.crc32(payload, VERSION)])


def _read(body: bytes, read: Callable[[list[Any]], T]) -> T:
    try:
        version, payload, crc = unpack(body, bytes_max=CONTROL_BYTES_MAX)
        if version != VERSION or type(version) is not int:
            raise ValueError(f"is not of version {VERSION}")
        if type(payload) is not bytes or zlib.crc32(payload, version) != crc:
            raise ValueError("does not match its checksum")
        return read(_listed(unpack(payload, bytes_max=CONTROL_BYTES_MAX), COUNTERS_MAX))
    except (ValueError, TypeError, *UNPACKABLE) as exc:
        raise MalformedMessageError(str(exc)) from exc


def _epoch(value: Any) -> Epoch:
    return Epoch(_natural(value, 2**EPOCH_BITS - 1))


def _natural(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError("a number is out of range")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > NAME_CHARS_MAX:
        raise ValueError("a text is out of range")
    return value


def _listed(value: Any, limit: int) -> list[Any]:
    if type(value) is not list or len(value) > limit:
        raise ValueError("a list is out of range")
    return value


def _ranges(value: Any) -> Ranges:
    pairs = tuple(
        (_natural(low, SEQUENCE_MAX), _natural(high, SEQUENCE_MAX))
        for low, high in _listed(value, RANGES_PER_RECEIPT_MAX)
    )
    if not ranges.is_normal(pairs):
        raise ValueError("ranges are not in normal form")
    return pairs
