"""Who a certificate speaks for: a common name and the alternative names beside it."""

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from certs.core.errors import CertsError
from certs.core.profile import CLIENTS, Role
from wire.doors import is_door, named_sensor
from wire.ids import is_name
from wire.queues import SERVICES

DNS_CHARS_MAX: Final = 253
ALT_NAMES_MAX: Final = 64
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
# RFC 5280 4.2.1.6 wants an absolute URI, and a host in one that has an authority: a URN has none.
_URN: Final = "urn:headgate:{role}:{name}"


class Kind(StrEnum):
    """Of an alternative name."""

    DNS = "dns"
    IP = "ip"
    URI = "uri"


class AltName(NamedTuple):
    """One subject alternative name, in its canonical spelling."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.text}"


def parse_alt_name(text: str) -> AltName:
    """Read what ``str`` wrote.

    Raises:
        ValueError: It did not.
    """
    kind, _, name = text.partition(":")
    return AltName(Kind(kind), name)


def alt_names(
    role: Role, name: str, dns: Iterable[str] = (), ip: Iterable[str] = ()
) -> tuple[AltName, ...]:
    """Return the alternative names of a holder: sorted, each once.

    Clients carry a URI that names role and name, so a service is never taken for a hub. Servers
    carry what people dial (RFC 6125): the names given, or their own name if none is.

    Raises:
        CertsError: A name that cannot stand in a certificate.
    """
    if not is_name(name):
        raise CertsError(
            f"{name[:80]!r} cannot be a {role}'s name", hint="use 1 to 64 of a-z, 0-9 and '-'"
        )
    if role is not Role.SERVER:
        return (AltName(Kind.URI, _URN.format(role=role, name=name)),)
    wanted = {AltName(Kind.DNS, _dns(each)) for each in dns}
    wanted |= {AltName(Kind.IP, _ip(each)) for each in ip}
    if len(wanted) > ALT_NAMES_MAX:
        raise CertsError(
            f"{len(wanted)} names are too many for one certificate",
            hint=f"use at most {ALT_NAMES_MAX}, or two servers",
        )
    return tuple(sorted(wanted or {AltName(Kind.DNS, _dns(name))}))


def client_of(uri: str) -> tuple[Role, str] | None:
    """Return role and name from a client's URI, None if it is none of ours."""
    parts = uri.split(":")
    if len(parts) != 4 or parts[:2] != ["urn", "headgate"] or not is_name(parts[3]):
        return None
    return next(((each, parts[3]) for each in CLIENTS if each == parts[2]), None)


def role_of(name: str) -> Role | None:
    """Return the only role a client of this name may have: brokers know it by its name alone.

    None: it is no stage's, no door's and no sensor's name.
    """
    if name in SERVICES or is_door(name):
        return Role.SERVICE
    return None if named_sensor(name) is None else Role.SENSOR


def _dns(text: str) -> str:
    """Return a host name in lower case: letters, digits, hyphens; no wildcard, no address."""
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if (
        len(name) > DNS_CHARS_MAX
        or not all(_LABEL.fullmatch(each) for each in labels)
        or labels[-1].isdigit()
    ):
        raise CertsError(
            f"{text[:80]!r} is no host name",
            hint="--dns takes names such as broker.example.org (no wildcard), --ip addresses",
        )
    return name


def _ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise CertsError(
            f"{text[:80]!r} is no IP address", hint="--ip takes 192.0.2.1 or 2001:db8::1"
        ) from exc
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise CertsError(f"{text[:80]!r} holds on one machine only", hint="leave out the %scope")
    return str(address)
