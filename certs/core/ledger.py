"""Every certificate ever signed and every one taken back: lines that are only ever added."""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from certs.core.errors import CertsError
from certs.core.names import AltName, parse_alt_name
from certs.core.profile import Role


class Reason(StrEnum):
    """Why a certificate is taken back (RFC 5280 5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key-compromise"
    SUPERSEDED = "superseded"
    CESSATION = "cessation"


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate that was signed.

    Attributes:
        serial: Unique, positive, at most 20 octets.
        issuer: Serial of the certificate it was signed under; its own for a root.
        role: Of its holder.
        name: Of its holder; the common name of holders that are no authority.
        not_before_ms: Unix ms.
        not_after_ms: Unix ms.
        key_sha256: Of its public key, 64 hex digits.
        alt_names: As in the certificate; none for authorities.
    """

    serial: int
    issuer: int
    role: Role
    name: str
    not_before_ms: int
    not_after_ms: int
    key_sha256: str
    alt_names: tuple[AltName, ...] = ()


@dataclass(frozen=True, slots=True)
class Revocation:
    """When and why a certificate was taken back."""

    at_ms: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the lines say, and which of the certificates were delivered.

    Attributes:
        entries: By serial, oldest first.
        revoked: By serial.
        held: Serials whose certificate lies in its place. A signature that was cut short is not
            among them: nobody has it.
    """

    entries: Mapping[int, Entry]
    revoked: Mapping[int, Revocation]
    held: Set[int]


def issued_line(entry: Entry) -> bytes:
    """Return the line for a signature."""
    return _line(
        issued=f"{entry.serial:x}",
        issuer=f"{entry.issuer:x}",
        role=entry.role,
        name=entry.name,
        not_before_ms=entry.not_before_ms,
        not_after_ms=entry.not_after_ms,
        key_sha256=entry.key_sha256,
        alt_names=[str(each) for each in entry.alt_names],
    )


def revoked_line(serial: int, revocation: Revocation) -> bytes:
    """Return the line for a certificate taken back."""
    return _line(revoked=f"{serial:x}", at_ms=revocation.at_ms, reason=revocation.reason)


def whole_bytes(lines: bytes) -> int:
    """Return how many bytes hold whole lines: what follows was cut short while being added."""
    return lines.rfind(b"\n") + 1


def read(lines: bytes) -> tuple[dict[int, Entry], dict[int, Revocation]]:
    """Return entries and revocations by serial; a line cut short at the end is not there.

    Raises:
        CertsError: A whole line does not make sense.
    """
    entries: dict[int, Entry] = {}
    revoked: dict[int, Revocation] = {}
    for number, line in enumerate(lines[: whole_bytes(lines)].splitlines(), start=1):
        try:
            fields: dict[str, Any] = json.loads(line)
            if "issued" in fields:
                entry = _entry(fields)
                entries[entry.serial] = entry
            else:
                told = Revocation(int(fields["at_ms"]), Reason(fields["reason"]))
                revoked.setdefault(int(fields["revoked"], 16), told)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise CertsError(
                f"line {number} of the index is damaged",
                hint="bring index.jsonl back from a backup; do not edit it",
            ) from exc
    return entries, revoked


def _line(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _entry(fields: dict[str, Any]) -> Entry:
    return Entry(
        serial=int(fields["issued"], 16),
        issuer=int(fields["issuer"], 16),
        role=Role(fields["role"]),
        name=str(fields["name"]),
        not_before_ms=int(fields["not_before_ms"]),
        not_after_ms=int(fields["not_after_ms"]),
        key_sha256=str(fields["key_sha256"]),
        alt_names=tuple(parse_alt_name(each) for each in fields["alt_names"]),
    )
