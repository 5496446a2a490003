"""Certificates for servers, hubs and services: issued, renewed, taken back."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from certs.authority import x509
from certs.authority.pki import Pki
from certs.authority.settle import settle
from certs.authority.store import CERTIFICATE, CURRENT, KEY, TRUST
from certs.core.errors import CertsError
from certs.core.ledger import Entry, Reason, Revocation
from certs.core.names import AltName, alt_names, role_of
from certs.core.plan import due, in_force, newest, renewals, revocable
from certs.core.profile import CLIENTS, HOLDERS, Role, validity


@dataclass(frozen=True, slots=True)
class Issued:
    """A holder's certificate.

    Attributes:
        entry: What it says.
        folder: Where it lies, with the roots to trust and, unless its holder keeps it, its key.
        is_new: Whether it was signed just now.
    """

    entry: Entry
    folder: Path
    is_new: bool


def issue(
    pki: Pki,
    role: Role,
    name: str,
    *,
    dns: Iterable[str] = (),
    ip: Iterable[str] = (),
    request: bytes | None = None,
) -> Issued:
    """Return a certificate of this holder that is in force, fits, and is not due for renewal.

    Signs one only if there is none, so asking again changes nothing.

    Args:
        pki: Where.
        role: A holder's.
        name: ``[a-z0-9-]{1,64}``; no two holders that are clients share one.
        dns: Names people dial a server by.
        ip: Addresses people dial a server by.
        request: A signing request as PEM, if the holder keeps its own key.

    Raises:
        CertsError: A name, a key or a request that cannot be.
    """
    assert role in HOLDERS
    wanted = alt_names(role, name, dns, ip)
    authority = pki.issuer()
    key = None if request is None else x509.read_request(request, name)
    holders = newest(in_force(pki.store.ledger, pki.now_ms, *HOLDERS))
    _refuse_unfit_name(role, name)
    _refuse_shared_name(holders.values(), role, name)
    _refuse_shared_key(holders.values(), role, name, key)
    found = holders.get((role, name))
    if (
        found is not None
        and _fits(found, wanted, key)
        and not due(found, authority.serial, pki.now_ms)
    ):
        settle(pki)
        return Issued(found, pki.store.home(role, name) / CURRENT, is_new=False)
    entry = _sign(_desk(pki, authority), role, name, wanted, key)
    settle(pki)
    return Issued(entry, pki.store.home(role, name) / CURRENT, is_new=True)


def renew(pki: Pki) -> list[Issued]:
    """Sign anew for every holder whose certificate is due, and refresh the lists. Idempotent.

    Identity stays: the same names, and where the holder keeps its key, the same key.
    """
    desk = _desk(pki, pki.issuer())
    done = []
    for each in renewals(pki.store.ledger, pki.now_ms):
        old = each.entry
        key = None if pki.store.has_key(old) else x509.public_key(pki.store.read(old))
        entry = _sign(desk, old.role, old.name, old.alt_names, key)
        done.append(Issued(entry, pki.store.home(old.role, old.name) / CURRENT, is_new=True))
    settle(pki)
    return done


def revoke(pki: Pki, role: Role, name: str, reason: Reason) -> list[Entry]:
    """Take back every certificate of a holder; return those that were not yet. Idempotent.

    Raises:
        CertsError: There never was such a holder.
    """
    known = any(
        (each.role, each.name) == (role, name) for each in pki.store.ledger.entries.values()
    )
    if not known:
        raise CertsError(f"there never was a {role} {name[:80]!r}", hint="headgate certs list")
    taken = revocable(pki.store.ledger, role, name, pki.now_ms)
    for entry in taken:
        pki.store.revoke(entry.serial, Revocation(pki.now_ms, reason))
    settle(pki)
    return taken


@dataclass(frozen=True, slots=True)
class _Desk:
    """What signing takes, fetched once a command however many are signed."""

    pki: Pki
    authority: Entry
    by: x509.Signer
    chain: bytes
    trust: bytes


def _desk(pki: Pki, authority: Entry) -> _Desk:
    return _Desk(pki, authority, pki.signer(authority), pki.store.read(authority), pki.trust())


def _sign(
    desk: _Desk, role: Role, name: str, names: tuple[AltName, ...], key: x509.PublicKey | None
) -> Entry:
    pki, authority = desk.pki, desk.authority
    own = x509.new_key() if key is None else None
    public = own.public_key() if own else key
    assert public is not None
    times = validity(role, pki.now_ms, authority.not_after_ms)
    entry = Entry(
        serial=pki.serial(),
        issuer=authority.serial,
        role=role,
        name=name,
        not_before_ms=times.not_before_ms,
        not_after_ms=times.not_after_ms,
        key_sha256=x509.key_sha256(public),
        alt_names=names,
    )
    order = x509.Order(entry.serial, role, name, names, times, public)
    files = {CERTIFICATE: x509.sign(order, desk.by) + desk.chain, TRUST: desk.trust}
    pki.store.keep(entry, files | ({KEY: x509.key_pem(own)} if own else {}))
    return entry


def _fits(found: Entry, wanted: tuple[AltName, ...], key: x509.PublicKey | None) -> bool:
    same_key = key is None or found.key_sha256 == x509.key_sha256(key)
    return same_key and found.alt_names == wanted


def _refuse_unfit_name(role: Role, name: str) -> None:
    if role not in CLIENTS:
        return
    only = role_of(name)
    if only is None and role is Role.SENSOR:
        raise CertsError(f"{name} is no sensor's name", hint="sensor 123 is called sensor-123")
    if only not in (None, role):
        raise CertsError(
            f"{name} is a {only}'s name, and a broker would let the {role} in as the {only}",
            hint=f"choose another name, or: headgate certs issue {only} {name}",
        )


def _refuse_shared_name(holders: Iterable[Entry], role: Role, name: str) -> None:
    """Brokers log clients in by common name alone: a service must not be taken for a hub."""
    for each in holders:
        if role in CLIENTS and each.role in CLIENTS - {role} and each.name == name:
            raise CertsError(
                f"{name} is a {each.role} already, and a broker could not tell them apart",
                hint=f"choose another name, or: headgate certs revoke {each.role} {name}",
            )


def _refuse_shared_key(
    holders: Iterable[Entry], role: Role, name: str, key: x509.PublicKey | None
) -> None:
    if key is None:
        return
    digest = x509.key_sha256(key)
    for each in holders:
        if each.key_sha256 == digest and (each.role, each.name) != (role, name):
            raise CertsError(
                f"{each.role} {each.name} has the same key (a cloned disk?)",
                hint=f"make a fresh one on the machine: headgate certs request {name} --out FOLDER",
            )
