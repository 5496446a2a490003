"""Who a client is: a name, a role, a region, and the digest of the token that proves it."""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wire.doors import is_reserved
from wire.errors import PeerError
from wire.ids import Region, is_name

FILE_BYTES_MAX: Final = 4_096
_SHA256_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Role(StrEnum):
    """What a client is for; it decides which topics it may use."""

    HUB = "hub"
    INGEST = "ingest"
    DETECT = "detect"
    ALERT = "alert"
    REFRESH = "refresh"
    API = "api"
    HTTP = "http"


STAGES: Final = frozenset(Role) - {Role.HUB}
_STAGE_NAME: Final = re.compile(rf"({'|'.join(STAGES)})(-[0-9]+)?", re.ASCII)


class MalformedIdentityError(PeerError):
    """An identity file, or a wish to enrol, that makes no sense."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One enrolled client.

    Attributes:
        name: The MQTT user name; a hub's is its hub id.
        role: What it is for.
        region: A hub's region; stages have one too, unused.
        token_sha256: 64 hex digits.
    """

    name: str
    role: Role
    region: Region
    token_sha256: str

    def __post_init__(self) -> None:
        """Refuse what could be mistaken for somebody else."""
        if not (is_name(self.name) and is_name(self.region)):
            raise MalformedIdentityError("names and regions are [a-z0-9-]{1,64}")
        if _SHA256_HEX.fullmatch(self.token_sha256) is None:
            raise MalformedIdentityError("the token's digest is not SHA-256 in hex")
        reserved = _STAGE_NAME.fullmatch(self.name) is not None or is_reserved(self.name)
        if self.role is Role.HUB and reserved:
            raise MalformedIdentityError(f"{self.name} is reserved, not a hub's name")


def digest(token: str) -> str:
    """Return what an identity file keeps of a token. Tokens are random: no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def proves(identity: Identity, token: str) -> bool:
    """Return whether the token is this identity's, in time that does not depend on it."""
    return hmac.compare_digest(digest(token), identity.token_sha256)


def owns_client_id(identity: Identity, client_id: str) -> bool:
    """Return whether a session of that id is this identity's to open.

    A session outlives its connection and holds messages, so nobody may name another's: an id is
    empty (a nameless session), the identity's own name, or that name, a dash and a worker number.
    """
    if client_id in ("", identity.name):
        return True
    name, dash, number = client_id.rpartition("-")
    worker = number.isascii() and number.isdigit() and len(number) <= 2
    return bool(dash) and name == identity.name and worker and identity.role in STAGES


def format_identity(identity: Identity) -> str:
    """Return the text of an identity file."""
    fields = {
        "name": identity.name,
        "role": identity.role.value,
        "region": identity.region,
        "token_sha256": identity.token_sha256,
    }
    return json.dumps(fields, indent=2) + "\n"


def parse_identity(text: str, *, name: str) -> Identity:
    """Return the identity a file describes; the file's name must be the identity's.

    Raises:
        MalformedIdentityError: It describes none, or another one.
    """
    try:
        fields = json.loads(text)
        identity = Identity(
            name=str(fields["name"]),
            role=Role(fields["role"]),
            region=Region(str(fields["region"])),
            token_sha256=str(fields["token_sha256"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MalformedIdentityError(f"identity file of {name} cannot be read") from exc
    if identity.name != name:
        raise MalformedIdentityError(f"identity file of {name} names another")
    return identity
