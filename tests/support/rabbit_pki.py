"""RabbitMQ among the certificates users have: those of ``headgate certs``."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme

from certs.core.names import role_of
from certs.core.profile import Role
from headgate.stack.rabbitmq import Tls
from tests.support.certs import Platform
from tests.support.rabbitmq import Authority, Rabbits, rabbits

FOUNDED_DAYS: Final = -151  # so that a hub may have one that ended: it holds 90 days
SERVER: Final = "localhost"


@dataclass(frozen=True)
class OurAuthority(Authority):
    """The product's own PKI; ``ca`` is a stranger nobody trusts."""

    platform: Platform

    @classmethod
    def founded(cls, home: Path) -> "OurAuthority":
        """Found it long ago."""
        home.mkdir(mode=0o700)
        platform = Platform(home).found(FOUNDED_DAYS)
        return cls(home, trustme.CA(key_type=trustme.KeyType.ECDSA), platform)

    @property
    def root(self) -> Path:
        """The roots to trust."""
        return self.platform.trust

    def home(self, name: str) -> Path:
        """See ``Authority``."""
        return self.platform.folder(_role(name), name)

    def issue(self, name: str) -> Tls:
        """See ``Authority``."""
        folder = self.platform.issue(_role(name), name)
        return Tls(self.root, folder / "cert.pem", folder / "key.pem")

    def context(self, name: str) -> ssl.SSLContext:
        """See ``Authority``."""
        self.issue(name)
        return self.platform.dial(self.home(name))


def _role(name: str) -> Role:
    if name == SERVER:
        return Role.SERVER
    return role_of(name) or Role.HUB


@contextmanager
def rabbits_of_ours(home: Path, nodes: int = 1) -> Iterator[tuple[Rabbits, Platform]]:
    """Start a cluster whose nodes, stages and hubs have certificates of a PKI in ``home``."""
    authority = OurAuthority.founded(home)
    with rabbits(nodes, authority) as running:
        yield running, authority.platform
