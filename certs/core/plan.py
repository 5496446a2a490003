"""What is in force, what is due, and what an administrator should do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from certs.core.ledger import Entry, Ledger, Revocation
from certs.core.profile import HOLDERS, Role, is_low


class State(StrEnum):
    """Of one certificate at one moment."""

    IN_FORCE = "in force"
    EXPIRED = "expired"
    REVOKED = "revoked"
    LOST = "never delivered"


class Due(StrEnum):
    """Why a certificate should be replaced."""

    LOW = "a third of its time or less is left"
    OLD_ISSUER = "its authority has been replaced"


@dataclass(frozen=True, slots=True)
class Renewal:
    """One holder whose certificate should be replaced, and why."""

    entry: Entry
    due: Due


def state(ledger: Ledger, entry: Entry, now_ms: int) -> State:
    """Return what a certificate is worth now; its issuer's fate is its own."""
    if entry.serial in ledger.revoked:
        return State.REVOKED
    if entry.not_after_ms <= now_ms:
        return State.EXPIRED
    if entry.serial not in ledger.held:
        return State.LOST
    if entry.issuer == entry.serial:
        return State.IN_FORCE
    issuer = ledger.entries.get(entry.issuer)
    if issuer is None:
        return State.REVOKED
    above = state(ledger, issuer, now_ms)
    return State.REVOKED if above is State.LOST else above


def in_force(ledger: Ledger, now_ms: int, *roles: Role) -> list[Entry]:
    """Return the certificates of these roles (all, if none is named) that hold, oldest first."""
    return [
        entry
        for entry in ledger.entries.values()
        if (not roles or entry.role in roles) and state(ledger, entry, now_ms) is State.IN_FORCE
    ]


def newest(entries: Iterable[Entry]) -> dict[tuple[Role, str], Entry]:
    """Return the last signed of each holder."""
    return {(entry.role, entry.name): entry for entry in entries}


def issuer(ledger: Ledger, now_ms: int) -> Entry | None:
    """Return the authority that signs now: the newest in force."""
    return next(reversed(in_force(ledger, now_ms, Role.ISSUING)), None)


def trusted(ledger: Ledger, now_ms: int) -> list[Entry]:
    """Return the roots with an authority in force: more than one while authorities change."""
    needed = {entry.issuer for entry in in_force(ledger, now_ms, Role.ISSUING)}
    return [entry for entry in in_force(ledger, now_ms, Role.ROOT) if entry.serial in needed]


def due(entry: Entry, issuer_serial: int, now_ms: int) -> Due | None:
    """Return why a certificate in force should be replaced, None if it should not."""
    if entry.issuer != issuer_serial:
        return Due.OLD_ISSUER
    return Due.LOW if is_low(entry.not_before_ms, entry.not_after_ms, now_ms) else None


def renewals(ledger: Ledger, now_ms: int) -> list[Renewal]:
    """Return every holder whose newest certificate in force should be replaced.

    The revoked and the expired are not among them: they are issued anew, by name, on purpose.
    """
    current = issuer(ledger, now_ms)
    if current is None:
        return []
    holders = newest(in_force(ledger, now_ms, *HOLDERS)).values()
    wanted = ((each, due(each, current.serial, now_ms)) for each in holders)
    return [Renewal(each, why) for each, why in wanted if why is not None]


def to_list(ledger: Ledger, issuer_serial: int, now_ms: int) -> dict[int, Revocation]:
    """Return what an issuer's revocation list must name: what it signed and would still hold."""
    return {
        serial: revocation
        for serial, revocation in ledger.revoked.items()
        if (entry := ledger.entries.get(serial)) is not None
        and entry.issuer == issuer_serial
        and entry.not_after_ms > now_ms
    }


def revocable(ledger: Ledger, role: Role, name: str, now_ms: int) -> list[Entry]:
    """Return every certificate of a holder that a peer might still accept."""
    return [
        entry
        for entry in ledger.entries.values()
        if (entry.role, entry.name) == (role, name)
        and entry.serial not in ledger.revoked
        and entry.not_after_ms > now_ms
    ]
