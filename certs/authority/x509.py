"""Keys, certificates and lists as bytes: the one module that knows the library."""

import datetime
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.core.errors import CertsError
from certs.core.ledger import Reason, Revocation
from certs.core.names import AltName, Kind
from certs.core.profile import PROFILES, Profile, Purpose, Role, Validity

REQUEST_BYTES_MAX: Final = 16_384
_HASH: Final = hashes.SHA256()
_PURPOSES: Final = {
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}
_REASONS: Final = {
    Reason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    Reason.SUPERSEDED: x509.ReasonFlags.superseded,
    Reason.CESSATION: x509.ReasonFlags.cessation_of_operation,
}
Key: TypeAlias = ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate to be signed."""

    serial: int
    role: Role
    common_name: str
    alt_names: tuple[AltName, ...]
    validity: Validity
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority's certificate with its key. Never shown."""

    certificate: x509.Certificate
    key: Key

    def __repr__(self) -> str:
        return f"<Signer {self.certificate.serial_number:x}>"


@dataclass(frozen=True, slots=True)
class ListState:
    """What a revocation list says of itself."""

    serials: frozenset[int]
    number: int
    begins_ms: int
    ends_ms: int


def new_key() -> Key:
    """Return a fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """Return a private key as PKCS 8."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def load_key(pem: bytes) -> Key:
    """Read a private key.

    Raises:
        ValueError: It is none, or not P-256.
    """
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_p256(key.public_key()):
        raise ValueError("not a P-256 key")
    return key


def key_sha256(key: PublicKey) -> str:
    """Return the digest a public key is known by."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def public_key(certificate_pem: bytes) -> PublicKey:
    """Return the key of the first certificate."""
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def signer(certificate_pem: bytes, private_key_pem: bytes) -> Signer:
    """Return an authority that can sign.

    Raises:
        ValueError: The key is not the certificate's.
    """
    key = load_key(private_key_pem)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    if certificate.public_key() != key.public_key():
        raise ValueError("the key is not this certificate's")
    return Signer(certificate, key)


def sign(order: Order, by: Signer | Key) -> bytes:
    """Return a certificate as PEM, signed by an authority or, for a root, by its own key."""
    profile = PROFILES[order.role]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, order.common_name)])
    own = isinstance(by, ec.EllipticCurvePrivateKey)
    issuer_key = by if isinstance(by, ec.EllipticCurvePrivateKey) else by.key
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if isinstance(by, Signer) else subject)
        .public_key(order.key)
        .serial_number(order.serial)
        .not_valid_before(_date(order.validity.not_before_ms))
        .not_valid_after(_date(order.validity.not_after_ms))
        .add_extension(
            x509.BasicConstraints(ca=profile.is_authority, path_length=profile.path_length),
            critical=True,
        )
        .add_extension(_usage(profile), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(order.key), critical=False)
    )
    if not own:
        above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id)
        builder = builder.add_extension(above, critical=False)
    if profile.purposes:
        purposes = [_PURPOSES[each] for each in sorted(profile.purposes)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if order.alt_names:
        names = x509.SubjectAlternativeName([_general_name(each) for each in order.alt_names])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, _HASH).public_bytes(serialization.Encoding.PEM)


def sign_list(
    by: Signer, revoked: Mapping[int, Revocation], *, number: int, validity: Validity
) -> bytes:
    """Return a revocation list as PEM. ``number`` must grow from list to list."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(_date(validity.not_before_ms))
        .next_update(_date(validity.not_after_ms))
        .add_extension(authority, critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, revocation in revoked.items():
        line = x509.RevokedCertificateBuilder().serial_number(serial)
        line = line.revocation_date(_date(revocation.at_ms))
        if (flag := _REASONS.get(revocation.reason)) is not None:
            line = line.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(line.build())
    return builder.sign(by.key, _HASH).public_bytes(serialization.Encoding.PEM)


def read_list(pem: bytes) -> ListState:
    """Read a revocation list of ours.

    Raises:
        ValueError: It is none.
    """
    told = x509.load_pem_x509_crl(pem)
    ends = told.next_update_utc
    assert ends is not None
    return ListState(
        frozenset(each.serial_number for each in told),
        told.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number,
        round(told.last_update_utc.timestamp() * 1_000),
        round(ends.timestamp() * 1_000),
    )


def request(name: str, key: Key) -> bytes:
    """Return a signing request as PEM: this key wants to be ``name``."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, _HASH).public_bytes(serialization.Encoding.PEM)


def read_request(pem: bytes, name: str) -> PublicKey:
    """Return the key of a signing request for ``name``; nothing else in it is believed.

    Raises:
        CertsError: It is none, is for somebody else, or its maker does not hold the key.
    """
    hint = f"on its machine: headgate certs request {name} --out FOLDER"
    try:
        if len(pem) > REQUEST_BYTES_MAX:
            raise ValueError("too long")
        told = x509.load_pem_x509_csr(pem)
        key, is_proven = told.public_key(), told.is_signature_valid
        names = [each.value for each in told.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as exc:
        raise CertsError("that file is no signing request", hint=hint) from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_p256(key):
        raise CertsError("the request's key is not P-256", hint=hint)
    if not is_proven:
        raise CertsError("the request is not signed by its own key", hint=hint)
    if names != [name]:
        raise CertsError(f"the request is not for {name}, but for {names!r:.80}", hint=hint)
    return key


def _is_p256(key: PublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)


def _usage(profile: Profile) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not profile.is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=profile.is_authority,
        crl_sign=profile.is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: AltName) -> x509.GeneralName:
    match name.kind:
        case Kind.DNS:
            return x509.DNSName(name.text)
        case Kind.IP:
            return x509.IPAddress(ipaddress.ip_address(name.text))
        case Kind.URI:
            return x509.UniformResourceIdentifier(name.text)


def _date(time_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_ms // 1_000, tz=datetime.UTC)
