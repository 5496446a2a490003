"""Authorities: the first, the next, and the end of the one before.

While two are in force both are trusted: holders move over by being renewed, in any order. A new
root is vouched for by the one before, so a hub that knows only the old root still knows its server.
"""

from certs.authority import x509
from certs.authority.pki import Pki
from certs.authority.settle import settle
from certs.authority.store import CERTIFICATE, KEY
from certs.core.errors import CertsError
from certs.core.ledger import Entry, Reason, Revocation
from certs.core.plan import in_force, newest, trusted
from certs.core.profile import HOLDERS, Role, validity

_NAMED_MAX = 5


def establish(pki: Pki) -> bool:
    """Make a root and its issuing authority, unless there are any; return whether any was made.

    Raises:
        CertsError: There were, and they are no longer in force.
    """
    ledger = pki.store.ledger
    if any(each.role is Role.ISSUING and each.serial in ledger.held for each in _all(pki)):
        pki.issuer()
        settle(pki)
        return False
    roots = in_force(ledger, pki.now_ms, Role.ROOT)
    _new_authority(pki, roots[-1] if roots else _new_root(pki))
    settle(pki)
    return True


def rotate(pki: Pki, *, new_root: bool, root_lost: bool = False) -> Entry:
    """Return the authority that signs from now on, made unless a change is under way already.

    Args:
        pki: Where.
        new_root: Whether the root changes too.
        root_lost: Whether a new root must do without the word of the one before, its key being
            lost: then a hub knows its server again only once it was given the new roots.

    Raises:
        CertsError: There is no PKI, or the root's key is away.
    """
    if not any(each.role is Role.ISSUING for each in _all(pki)):
        pki.issuer()
    if len(in_force(pki.store.ledger, pki.now_ms, Role.ISSUING)) < 2:
        roots = in_force(pki.store.ledger, pki.now_ms, Role.ROOT)
        used = {each.issuer for each in _all(pki) if each.role is Role.ISSUING}
        if not roots or (new_root and roots[-1].serial in used):
            roots.append(_new_root(pki))
        _new_authority(pki, roots[-1], vouched=not root_lost)
    settle(pki)
    return pki.issuer()


def finish(pki: Pki, *, force: bool) -> list[Entry]:
    """Take back every authority but the newest; return those. Idempotent.

    Args:
        pki: Where.
        force: Whether to do so although holders would be left outside.

    Raises:
        CertsError: Holders would be, or the root's key is away.
    """
    current = pki.issuer()
    ledger, now_ms = pki.store.ledger, pki.now_ms
    old = [each for each in in_force(ledger, now_ms, Role.ISSUING) if each != current]
    holders = newest(in_force(ledger, now_ms, *HOLDERS)).values()
    left = [f"{each.role} {each.name}" for each in holders if each.issuer != current.serial]
    if left and not force:
        raise CertsError(
            f"{len(left)} would be left outside: {', '.join(left[:_NAMED_MAX])}",
            hint="headgate certs renew, hand the new ones over, then this again (or add --force)",
        )
    for entry in old:
        if entry.issuer == current.issuer:
            pki.root_signer(
                ledger.entries[entry.issuer]
            )  # it must list them: fail before, not after
    for entry in old:
        pki.store.revoke(entry.serial, Revocation(now_ms, Reason.SUPERSEDED))
    settle(pki)
    return old


def _new_root(pki: Pki) -> Entry:
    key = x509.new_key()
    entry, order = _prepared(pki, Role.ROOT, key.public_key(), issuer=None)
    path = pki.root_key(entry)
    draft = path.with_name(f".{path.name}.draft")
    pki.disk.make_folder(path.parent)
    pki.disk.write_new(draft, x509.key_pem(key))
    pki.disk.move(draft, path)
    pki.store.keep(entry, {CERTIFICATE: x509.sign(order, key)})
    return entry


def _new_authority(pki: Pki, root: Entry, *, vouched: bool = True) -> Entry:
    by, key = pki.root_signer(root), x509.new_key()
    chain = _cross(pki, root, by) if vouched else b""
    entry, order = _prepared(pki, Role.ISSUING, key.public_key(), issuer=root)
    files = {CERTIFICATE: x509.sign(order, by) + chain, KEY: x509.key_pem(key)}
    pki.store.keep(entry, files)
    return entry


def _cross(pki: Pki, root: Entry, by: x509.Signer) -> bytes:
    """Return the root as the one before vouches for it; nothing if there is none before."""
    former = [each for each in trusted(pki.store.ledger, pki.now_ms) if each != root]
    if not former:
        return b""
    public = by.key.public_key()
    entry, order = _prepared(pki, Role.CROSS, public, issuer=former[-1], common_name=_common(root))
    body = x509.sign(order, pki.root_signer(former[-1]))
    pki.store.keep(entry, {CERTIFICATE: body})
    return body


def _prepared(
    pki: Pki,
    role: Role,
    key: x509.PublicKey,
    *,
    issuer: Entry | None,
    common_name: str | None = None,
) -> tuple[Entry, x509.Order]:
    """Return what the index will say of an authority, and what is to be signed."""
    count = sum(each.role is role and each.serial in pki.store.ledger.held for each in _all(pki))
    serial = pki.serial()
    times = (
        validity(role, pki.now_ms, issuer.not_after_ms) if issuer else validity(role, pki.now_ms)
    )
    entry = Entry(
        serial=serial,
        issuer=issuer.serial if issuer else serial,
        role=role,
        name=f"{role}-{count + 1}",
        not_before_ms=times.not_before_ms,
        not_after_ms=times.not_after_ms,
        key_sha256=x509.key_sha256(key),
    )
    return entry, x509.Order(serial, role, common_name or _common(entry), (), times, key)


def _common(entry: Entry) -> str:
    """Return an authority's common name; no other platform's authority has it."""
    return f"headgate {entry.name} {entry.key_sha256[:16]}"


def _all(pki: Pki) -> list[Entry]:
    return list(pki.store.ledger.entries.values())
