"""Dead letters as people read them: whose, why, since when, and what is still legible."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from cloud.core.views import Row, instant_of
from cloud.read.text import iso, iso_or_none
from wire.batch import Batch, Flag, Kind
from wire.codec import Opened, open_wire
from wire.errors import MalformedBatchError
from wire.ids import UnixMs
from wire.metric import COLUMNS

HEAD_BYTES_MAX: Final = 256
LETTER_ID_MAX: Final = 2**63 - 1


class LetterReader(Protocol):
    """Dead letters, newest first. Everything raises InfrastructureError while the store is away."""

    async def page(
        self, hub_id: str | None, reason: str, state: str | None, before: int, limit: int
    ) -> Sequence[Row]:
        """Return letters with an id below ``before`` whose reason begins so; None: any."""
        ...

    async def one(self, letter_id: int) -> Row | None:
        """Return one letter with its ``body``, or None."""
        ...


def as_letter(row: Row) -> dict[str, Any]:
    """Return a letter as JSON objects, without its body; what is 64 bits wide as text."""
    return {
        "letter_id": str(row["dead_letter_id"]),
        "state": row["state"],
        "kind": row["kind"],
        "reason": row["reason"],
        "hub_id": row["hub_id"],
        "epoch": str(row["epoch"]),
        "sequence": row["sequence"],
        "topic": row["topic"] or None,
        "flags": _flags(Flag(row["flags"])),
        "crc": row["crc"],
        "bytes": row["bytes"],
        "attempts": row["attempts"],
        "first_at": iso(row["first_at"]),
        "last_at": iso(row["last_at"]),
        "decided_at": iso_or_none(row["decided_at"]),
        "decided_by": row["decided_by"],
    }


def as_whole_letter(row: Row) -> dict[str, Any]:
    """Return a letter with the head of its bytes, and what we can read of it today."""
    body: bytes = row["body"]
    legible: dict[str, Any] = {"header": None, "content": None, "fault": None}
    try:
        opened = open_wire(body)
        legible["header"] = _header(opened)
        legible["content"] = _content(opened)
    except MalformedBatchError as fault:
        legible["fault"] = str(fault)
    return {**as_letter(row), "head_hex": body[:HEAD_BYTES_MAX].hex(), **legible}


def _header(opened: Opened) -> dict[str, Any]:
    seal = opened.seal
    return {
        "hub_id": seal.key.hub_id,
        "region": seal.region,
        "epoch": str(seal.key.epoch),
        "sequence": seal.key.sequence,
        "kind": seal.kind.name.lower(),
        "flags": _flags(seal.flags),
        "rows": opened.shape.rows,
        "rows_lost": seal.rows_lost,
        "metrics": [COLUMNS[metric] for metric in opened.shape.metrics()],
    }


def _content(opened: Opened) -> dict[str, Any]:
    """Return what the rows say of themselves, or the tombstone.

    Raises:
        MalformedBatchError: They cannot be read.
    """
    content = opened.content()
    if isinstance(content, Batch):
        rows, first_ms = len(content), UnixMs(int(content.observed_at_ms.min()))
        last_ms = UnixMs(int(content.observed_at_ms.max()))
    else:
        rows, first_ms, last_ms = content.rows, content.observed_from_ms, content.observed_to_ms
    return {
        "rows": rows,
        "observed_from": iso(instant_of(first_ms)),
        "observed_to": iso(instant_of(last_ms)),
        "shed": opened.seal.kind is Kind.SHED,
    }


def _flags(flags: Flag) -> list[str]:
    return [str(flag.name).lower() for flag in Flag if flag and flag in flags]
