"""What is made from the index: the roots to trust, the lists, the holders' ``current``.

Every command ends here, so what one that was killed had left open is mended by the next.
"""

from certs.authority import x509
from certs.authority.pki import Pki
from certs.authority.store import REVOKED
from certs.core.errors import CertsError
from certs.core.ledger import Entry
from certs.core.plan import in_force, newest, to_list, trusted
from certs.core.profile import BACKDATED_MS, HOLDERS, LIST_LIFETIME_MS, Role, Validity, is_low


def settle(pki: Pki) -> bool:
    """Bring everything that is made from the index up to date. Idempotent.

    Returns:
        Whether all of it is: not, while a root's list wants to be signed and its key is away.
    """
    ledger, now_ms = pki.store.ledger, pki.now_ms
    authorities = in_force(ledger, now_ms, Role.ISSUING)
    roots = trusted(ledger, now_ms)
    done = [_list(pki, each) for each in (*authorities, *roots)]
    paths = [pki.store.list_of(each) for each in (*authorities, *roots)]
    lists = b"".join(path.read_bytes() for path in paths if path.exists())
    pki.store.replace(pki.store.root / REVOKED, lists)
    pki.store.replace(pki.trust_file, pki.trust())
    for entry in newest(in_force(ledger, now_ms, *HOLDERS, Role.ISSUING)).values():
        pki.store.point(entry)
    return all(done)


def is_stale(pki: Pki, authority: Entry) -> bool:
    """Return whether an authority's list says too little, or ends soon."""
    path = pki.store.list_of(authority)
    if not path.exists():
        return True
    told = x509.read_list(path.read_bytes())
    return (
        told.serials != set(to_list(pki.store.ledger, authority.serial, pki.now_ms))
        or told.begins_ms > pki.now_ms
        or is_low(told.begins_ms, told.ends_ms, pki.now_ms)
    )


def _list(pki: Pki, authority: Entry) -> bool:
    if not is_stale(pki, authority):
        return True
    try:
        is_root = authority.role is Role.ROOT
        by = pki.root_signer(authority) if is_root else pki.signer(authority)
    except CertsError:
        if authority.role is Role.ROOT:
            return False
        raise
    path = pki.store.list_of(authority)
    former = x509.read_list(path.read_bytes()).number if path.exists() else 0
    ends_ms = min(pki.now_ms + LIST_LIFETIME_MS[authority.role], authority.not_after_ms)
    body = x509.sign_list(
        by,
        to_list(pki.store.ledger, authority.serial, pki.now_ms),
        number=max(pki.now_ms, former + 1),
        validity=Validity(pki.now_ms - BACKDATED_MS, ends_ms),
    )
    pki.store.replace(path, body)
    return True
