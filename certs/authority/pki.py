"""One command at the PKI: its folder held, its neighbours named, its moment fixed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certs.authority import x509
from certs.authority.disk import Disk, RealDisk
from certs.authority.place import locked, must_be_closed, outside_git
from certs.authority.store import KEY, TRUST, Store
from certs.core.errors import CertsError
from certs.core.ledger import Entry
from certs.core.plan import issuer, trusted
from certs.core.profile import SERIAL_BYTES, Role, serial_of

FOLDER: Final = "pki"
OFFLINE: Final = "offline"
_LOCKED_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Pki:
    """What a command works with.

    Attributes:
        store: The folder.
        disk: What changes files.
        root_keys: The folder of the roots' keys; may be a medium that is not there just now.
        now_ms: The moment of the command, Unix ms.
        entropy: Returns that many random bytes, fit for secrets.
    """

    store: Store
    disk: Disk
    root_keys: Path
    now_ms: int
    entropy: Callable[[int], bytes] = os.urandom

    def serial(self) -> int:
        """Return a serial number that was never used."""
        while (serial := serial_of(self.entropy(SERIAL_BYTES))) in self.store.ledger.entries:
            pass
        return serial

    def issuer(self) -> Entry:
        """Return the authority that signs now.

        Raises:
            CertsError: There is none.
        """
        current = issuer(self.store.ledger, self.now_ms)
        if current is None:
            known = any(each.role is Role.ISSUING for each in self.store.ledger.entries.values())
            raise CertsError(
                "the issuing authority is no longer in force" if known else "there is no PKI yet",
                hint="headgate certs rotate" if known else "headgate certs init",
            )
        return current

    def signer(self, authority: Entry) -> x509.Signer:
        """Return an issuing authority, able to sign."""
        return x509.signer(self.store.read(authority), self.store.read(authority, KEY))

    def root_key(self, root: Entry | str) -> Path:
        """Return where the key of a root, or of a key's digest, is kept."""
        digest = root if isinstance(root, str) else root.key_sha256
        return self.root_keys / f"root-{digest[:16]}.key"

    def root_signer(self, root: Entry) -> x509.Signer:
        """Return a root, able to sign.

        Raises:
            CertsError: Its key is not where it was said to be.
        """
        path = self.root_key(root)
        must_be_closed(path)
        try:
            return x509.signer(self.store.read(root), path.read_bytes())
        except (OSError, ValueError) as exc:
            raise CertsError(
                f"the key of {root.name} is not in {path}",
                hint="bring the medium it is kept on, and add --root-dir FOLDER",
            ) from exc

    def trust(self) -> bytes:
        """Return the roots to be trusted now, newest first, as PEM."""
        roots = trusted(self.store.ledger, self.now_ms)
        return b"".join(self.store.read(each) for each in reversed(roots))

    @property
    def trust_file(self) -> Path:
        """Where the roots to be trusted are."""
        return self.store.root / TRUST


@contextmanager
def opened(
    home: Path,
    *,
    now_ms: int,
    root_keys: Path | None = None,
    disk: Disk | None = None,
    locked_within_s: float = _LOCKED_WITHIN_S,
) -> Iterator[Pki]:
    """Hold the PKI of a data directory, made if need be, until the command is done.

    Args:
        home: The data directory.
        now_ms: The moment of the command.
        root_keys: Where the roots' keys are; ``pki/offline`` if not said.
        disk: What changes files; the machine's own if not said.
        locked_within_s: How long to wait for another command.

    Raises:
        CertsError: The place is unfit, damaged, or busy.
    """
    disk = disk or RealDisk()
    folder = outside_git(home) / FOLDER
    keys = outside_git(root_keys) if root_keys else folder / OFFLINE
    disk.make_folder(folder)
    must_be_closed(folder)
    must_be_closed(keys)
    with locked(folder / "lock", within_s=locked_within_s):
        store = Store(folder, disk)
        store.recover()
        yield Pki(store, disk, keys, now_ms)


def looked_at(home: Path, *, now_ms: int, root_keys: Path | None = None) -> Pki:
    """Return the PKI of a data directory to be read, without a lock; if not there, an empty one."""
    folder = outside_git(home) / FOLDER
    disk = RealDisk()
    return Pki(Store(folder, disk), disk, root_keys or folder / OFFLINE, now_ms)
