"""What each kind of certificate is for: one table, and the times it follows from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wire.limits import TIME_MS_MAX

_DAY_MS: Final = 86_400_000
BACKDATED_MS: Final = 300_000  # a peer's clock may be a little behind ours
SERIAL_BYTES: Final = 20  # RFC 5280 4.1.2.2: at most 20 octets; CA/B forum: at least 64 random bits


class Role(StrEnum):
    """What a certificate's holder is."""

    ROOT = "root"
    CROSS = "cross"  # the next root, vouched for by the one before
    ISSUING = "issuing"
    SERVER = "server"
    HUB = "hub"
    SERVICE = "service"
    SENSOR = "sensor"  # one that comes without a hub


class Purpose(StrEnum):
    """What a peer may accept the certificate for (RFC 5280 4.2.1.12)."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Profile:
    """The fixed part of a certificate.

    Attributes:
        lifetime_ms: From the moment of signing; cut where the issuer ends.
        path_length: Authorities allowed below this one; None for who is no authority.
        purposes: Extended key usages; empty sets no limit.
    """

    lifetime_ms: int
    path_length: int | None
    purposes: frozenset[Purpose]

    @property
    def is_authority(self) -> bool:
        """Whether it signs certificates and lists, and nothing else. Others sign handshakes."""
        return self.path_length is not None


_BOTH: Final = frozenset({Purpose.SERVER, Purpose.CLIENT})
PROFILES: Final[Mapping[Role, Profile]] = {
    # Below a root: its issuing authority, and between them the next root for those who know it not.
    Role.ROOT: Profile(3_650 * _DAY_MS, 2, frozenset()),
    Role.CROSS: Profile(730 * _DAY_MS, 1, frozenset()),
    Role.ISSUING: Profile(730 * _DAY_MS, 0, _BOTH),
    Role.SERVER: Profile(90 * _DAY_MS, None, frozenset({Purpose.SERVER})),
    Role.HUB: Profile(90 * _DAY_MS, None, frozenset({Purpose.CLIENT})),
    Role.SERVICE: Profile(90 * _DAY_MS, None, frozenset({Purpose.CLIENT})),
    Role.SENSOR: Profile(90 * _DAY_MS, None, frozenset({Purpose.CLIENT})),
}
HOLDERS: Final = tuple(role for role, profile in PROFILES.items() if not profile.is_authority)
CLIENTS: Final = frozenset(HOLDERS) - {Role.SERVER}
LIST_LIFETIME_MS: Final[Mapping[Role, int]] = {
    # The root is offline: its list must last as long as the authority it speaks about.
    Role.ROOT: PROFILES[Role.ISSUING].lifetime_ms,
    Role.ISSUING: 30 * _DAY_MS,
}

assert set(PROFILES) == set(Role)
# An authority is replaced with a third left; until it ends, its holders must have been renewed.
assert all(3 * PROFILES[each].lifetime_ms < PROFILES[Role.ISSUING].lifetime_ms for each in HOLDERS)
assert 3 * PROFILES[Role.ISSUING].lifetime_ms < PROFILES[Role.ROOT].lifetime_ms


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate holds: ``[not_before_ms, not_after_ms)``, Unix ms, whole seconds."""

    not_before_ms: int
    not_after_ms: int


def validity(role: Role, now_ms: int, issuer_ends_ms: int = TIME_MS_MAX) -> Validity:
    """Return when a certificate signed now holds; never past its issuer.

    Args:
        role: Whose.
        now_ms: When it is signed.
        issuer_ends_ms: The issuer's ``not_after_ms``; must lie ahead.
    """
    assert now_ms < issuer_ends_ms
    ends_ms = min(now_ms + PROFILES[role].lifetime_ms, issuer_ends_ms)
    return Validity(_seconds(now_ms - BACKDATED_MS), _seconds(ends_ms))


def is_low(begins_ms: int, ends_ms: int, now_ms: int) -> bool:
    """Return whether a third of the time or less is left: the moment to renew."""
    return 3 * (ends_ms - now_ms) <= ends_ms - begins_ms


def serial_of(entropy: bytes) -> int:
    """Return a serial number: positive, exactly 20 octets, 158 bits of it from ``entropy``."""
    assert len(entropy) == SERIAL_BYTES
    top = 8 * SERIAL_BYTES - 1  # the sign in DER; the bit below it is set, so lengths are equal
    return int.from_bytes(entropy) & ((1 << (top - 1)) - 1) | 1 << (top - 1)


def _seconds(time_ms: int) -> int:
    return time_ms // 1_000 * 1_000
