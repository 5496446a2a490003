"""TLS as this platform speaks it: 1.2 or newer, AEAD suites only, from the folders ``certs`` makes.

Standard library only, so the hub's agent can use it and stay small. A folder is one holder's:
``cert.pem`` (with its chain), ``key.pem``, ``trust.pem`` (the roots to trust).
"""

import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from certs.core.names import client_of
from certs.core.profile import Role

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of 1.2; those of 1.3 are AEAD by definition

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# RFC 5280 4.1.2.5: two times beside each other, UTCTime until 2049, then GeneralizedTime.
_VALIDITY: Final = re.compile(
    rb"\x30[\x1e-\x22](?:\x17\x0d\d{12}|\x18\x0f\d{14})Z(?:\x17\x0d|\x18\x0f)(\d{12}|\d{14})Z"
)


class Client(NamedTuple):
    """Who a verified client is."""

    role: Role
    name: str


def client_context(trust: Path, *, identity: Path | None = None) -> ssl.SSLContext:
    """Return a context to dial a server whose name is checked.

    Args:
        trust: The roots to trust, PEM.
        identity: Our folder, if the server wants to know us.

    Raises:
        OSError: A file is missing, or not what it should be (``ssl.SSLError``).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.load_verify_locations(cafile=trust)
    if identity is not None:
        _show(context, identity)
    return context


def server_context(
    identity: Path, *, trust: Path | None = None, revoked: Path | None = None
) -> ssl.SSLContext:
    """Return a context to answer with; it follows the files, so nobody restarts for a renewal.

    Every handshake sees the files as they are: a certificate renewed, a client revoked, an
    authority retired count from the next connection on. Connections that stand are the caller's
    to close. Files that cannot be read let nobody in.

    Args:
        identity: Our folder, a holder's ``current``.
        trust: The roots whose clients may enter, PEM; None asks for no client certificate.
        revoked: The lists of every authority below them, PEM; wanted with ``trust``.

    Raises:
        OSError: A file is missing, or not what it should be (``ssl.SSLError``).
    """
    assert (trust is None) == (revoked is None), "clients are checked against roots and lists"
    files = _Files(identity, trust, revoked)
    context = files.fresh()

    def follow(handshake: ssl.SSLObject, _name: str | None, _former: ssl.SSLContext) -> int | None:
        try:
            handshake.context = files.fresh()
        except OSError:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    context.sni_callback = follow
    return context


def client_name(certificate: Any) -> Client | None:
    """Return who a verified client is, None if its certificate does not say so consistently.

    Args:
        certificate: What ``getpeercert()`` returned; None or empty without one.
    """
    told = certificate or {}
    names = [
        value for part in told.get("subject", ()) for key, value in part if key == "commonName"
    ]
    uris = [value for kind, value in told.get("subjectAltName", ()) if kind == "URI"]
    if len(names) != 1 or len(uris) != 1 or (found := client_of(uris[0])) is None:
        return None
    return Client(*found) if found[1] == names[0] else None


def ends_ms(identity: Path) -> int:
    """Return when the certificate in a folder ends, Unix ms.

    Raises:
        OSError: It cannot be read.
        ValueError: It is none.
    """
    pem = _PEM.search((identity / "cert.pem").read_text())
    found = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(pem[0])) if pem else None
    if found is None:
        raise ValueError(f"{identity / 'cert.pem'} is no certificate")
    text = found[1].decode()
    century = "" if len(text) == 14 else "20"
    end = datetime.strptime(f"{century}{text}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return round(end.timestamp()) * 1_000


@dataclass(slots=True)
class _Files:
    """The files of a server, and the context last made from them."""

    identity: Path
    trust: Path | None
    revoked: Path | None
    _seen: tuple[object, ...] = ()
    _context: ssl.SSLContext | None = field(default=None, repr=False)

    def fresh(self) -> ssl.SSLContext:
        """Return a context made from the files as they are."""
        seen = tuple(_mark(each) for each in self._paths())
        if self._context is None or seen != self._seen:
            self._context, self._seen = self._build(), seen
        return self._context

    def _paths(self) -> tuple[Path, ...]:
        extra = () if self.trust is None or self.revoked is None else (self.trust, self.revoked)
        return (self.identity / "cert.pem", *extra)

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        _show(context, self.identity)
        if self.trust is not None and self.revoked is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            # Of the whole chain: an authority that was retired is on its root's list.
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
            context.load_verify_locations(cafile=self.trust)
            context.load_verify_locations(cafile=self.revoked)
        return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # A resumed connection is not verified again: a revoked client could come back by its ticket.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0


def _show(context: ssl.SSLContext, identity: Path) -> None:
    folder = identity.resolve(strict=True)  # once: key and certificate of one renewal
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")


def _mark(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
