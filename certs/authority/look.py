"""What there is and what to do about it, without changing anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certs.authority.pki import OFFLINE, Pki
from certs.authority.place import must_be_closed
from certs.authority.settle import is_stale
from certs.core.errors import CertsError
from certs.core.ledger import Entry
from certs.core.plan import State, in_force, issuer, newest, renewals, state, trusted
from certs.core.profile import HOLDERS, Role, is_low


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do.

    Attributes:
        what: Is the matter.
        type_this: The next command, or what to do by hand.
        is_fault: Whether it must be done; a mere suggestion if not.
    """

    what: str
    type_this: str
    is_fault: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One certificate as a list shows it."""

    entry: Entry
    state: State
    folder: Path


def rows(pki: Pki) -> list[Row]:
    """Return every certificate that was delivered, oldest first."""
    ledger = pki.store.ledger
    told = [
        Row(entry, state(ledger, entry, pki.now_ms), pki.store.folder(entry))
        for entry in ledger.entries.values()
    ]
    return [row for row in told if row.state is not State.LOST]


def expiries(pki: Pki) -> list[Entry]:
    """Return the newest certificate in force of every holder and authority, soonest end first."""
    latest = newest(in_force(pki.store.ledger, pki.now_ms)).values()
    return sorted(latest, key=lambda entry: entry.not_after_ms)


def advice(pki: Pki) -> list[Advice]:
    """Return what to do, most pressing first; nothing if all is well."""
    ledger = pki.store.ledger
    if not any(each.role is Role.ISSUING and each.serial in ledger.held for each in _all(pki)):
        return [Advice("there is no PKI yet", "headgate certs init")]
    found = [*_modes(pki)]
    if issuer(ledger, pki.now_ms) is None:
        return [*found, Advice("no issuing authority is in force", "headgate certs rotate")]
    return [*found, *_lists(pki), *_authorities(pki), *_holders(pki), *_offline(pki)]


def _modes(pki: Pki) -> Iterator[Advice]:
    keys = sorted(pki.store.root.glob("*/*/*/key.pem"))
    for path in (pki.store.root, pki.root_keys, *sorted(pki.root_keys.glob("*.key")), *keys):
        try:
            must_be_closed(path)
        except CertsError as exc:
            yield Advice(str(exc.args[0]), exc.hint)


def _lists(pki: Pki) -> Iterator[Advice]:
    ledger = pki.store.ledger
    if any(is_stale(pki, each) for each in in_force(ledger, pki.now_ms, Role.ISSUING)):
        yield Advice("the revocation list is old or incomplete", "headgate certs crl")
    for root in trusted(ledger, pki.now_ms):
        if is_stale(pki, root):
            what = f"the revocation list of {root.name} is old or incomplete"
            yield Advice(what, "headgate certs crl --root-dir FOLDER, where its key is kept")


def _authorities(pki: Pki) -> Iterator[Advice]:
    ledger, now_ms = pki.store.ledger, pki.now_ms
    authorities = in_force(ledger, now_ms, Role.ISSUING)
    current = authorities[-1]
    root = ledger.entries[current.issuer]
    if is_low(root.not_before_ms, root.not_after_ms, now_ms):
        yield Advice(f"{root.name} ends soon", "headgate certs rotate --new-root")
    elif is_low(current.not_before_ms, current.not_after_ms, now_ms):
        yield Advice(f"{current.name} ends soon", "headgate certs rotate")
    holders = newest(in_force(ledger, now_ms, *HOLDERS)).values()
    if len(authorities) > 1 and all(each.issuer == current.serial for each in holders):
        yield Advice(
            "two authorities are trusted, and every holder has a certificate of the new one",
            "headgate certs rotate --finish, once all were handed over",
            is_fault=False,
        )


def _holders(pki: Pki) -> Iterator[Advice]:
    ledger, now_ms = pki.store.ledger, pki.now_ms
    waiting = renewals(ledger, now_ms)
    if waiting:
        yield Advice(f"{len(waiting)} certificates are due", "headgate certs renew")
    for entry in newest(each for each in _all(pki) if each.role in HOLDERS).values():
        if state(ledger, entry, now_ms) is State.EXPIRED:
            yield Advice(
                f"{entry.role} {entry.name} has expired",
                f"headgate certs issue {entry.role} {entry.name}, "
                f"or headgate certs revoke {entry.role} {entry.name}",
            )


def _offline(pki: Pki) -> Iterator[Advice]:
    beside = pki.store.root / OFFLINE
    if any(beside.glob("*.key")):
        yield Advice(
            "the root's key lies beside the keys it should outlive",
            f"move {beside} to a medium kept elsewhere, and use --root-dir when it is asked for",
            is_fault=False,
        )


def _all(pki: Pki) -> list[Entry]:
    return list(pki.store.ledger.entries.values())
