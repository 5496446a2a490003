"""The folder ``pki/``: an index that only grows, a folder per certificate, lists made from both.

A certificate is signed in memory, entered in the index, and only then put in its place, whole, by
one rename: whatever lies in its place is in the index, and can be taken back. What a crash leaves
besides is in ``drafts/`` and swept away by the next command.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from certs.authority.disk import Disk
from certs.core.errors import CertsError
from certs.core.ledger import (
    Entry,
    Ledger,
    Revocation,
    issued_line,
    read,
    revoked_line,
    whole_bytes,
)
from certs.core.profile import Role

CERTIFICATE: Final = "cert.pem"
KEY: Final = "key.pem"
TRUST: Final = "trust.pem"
REVOKED: Final = "revoked.pem"
CURRENT: Final = "current"
_FOLDERS: Final[Mapping[Role, str]] = {
    Role.ROOT: "roots",
    Role.CROSS: "crosses",
    Role.ISSUING: "authorities",
    Role.SERVER: "servers",
    Role.HUB: "hubs",
    Role.SERVICE: "services",
    Role.SENSOR: "sensors",
}


class Store:
    """What is kept. Change it only under the lock."""

    def __init__(self, root: Path, disk: Disk) -> None:
        """Read the index, if there is one.

        Raises:
            CertsError: It is damaged.
        """
        self.root = root
        self._disk = disk
        self._index = root / "index.jsonl"
        self._drafts = root / "drafts"
        lines = self._index.read_bytes() if self._index.exists() else b""
        self._torn_bytes = len(lines) - whole_bytes(lines)
        self._whole_bytes = whole_bytes(lines)
        self._entries, self._revoked = read(lines)
        self._held = {each.serial for each in self._entries.values() if self._is_held(each)}

    def __repr__(self) -> str:
        return f"<Store {self.root}: {len(self._entries)} signed, {len(self._revoked)} revoked>"

    @property
    def ledger(self) -> Ledger:
        """What was signed, taken back and delivered, as of now."""
        return Ledger(self._entries, self._revoked, self._held)

    def recover(self) -> None:
        """Undo what a command that was killed left half done. Idempotent."""
        if self._torn_bytes:
            self._disk.cut(self._index, self._whole_bytes)
            self._torn_bytes = 0
        for draft in sorted(self._drafts.glob("**/*"), reverse=True):
            if draft.is_dir() and not draft.is_symlink():
                self._disk.remove_folder(draft)
            else:
                self._disk.remove(draft)
        self._disk.make_folder(self._drafts)

    def home(self, role: Role, name: str) -> Path:
        """Return the folder of a holder."""
        return self.root / _FOLDERS[role] / name

    def folder(self, entry: Entry) -> Path:
        """Return the folder of one certificate."""
        return self.home(entry.role, entry.name) / f"{entry.serial:x}"

    def read(self, entry: Entry, name: str = CERTIFICATE) -> bytes:
        """Return one of a certificate's files.

        Raises:
            CertsError: It is not there.
        """
        try:
            return (self.folder(entry) / name).read_bytes()
        except FileNotFoundError as exc:
            raise CertsError(
                f"{self.folder(entry) / name} is gone", hint=f"bring {self.root} back from a backup"
            ) from exc

    def has_key(self, entry: Entry) -> bool:
        """Return whether the key is kept here, not with its holder."""
        return (self.folder(entry) / KEY).exists()

    def keep(self, entry: Entry, files: Mapping[str, bytes]) -> Path:
        """Enter a certificate in the index, then put its files in place; return their folder."""
        draft = self._drafts / f"{entry.serial:x}"
        self._disk.make_folder(draft)
        for name, body in files.items():
            self._disk.write_new(draft / name, body)
        self._disk.append(self._index, issued_line(entry))
        self._entries[entry.serial] = entry
        folder = self.folder(entry)
        self._disk.make_folder(folder.parent)
        self._disk.move(draft, folder)
        self._held.add(entry.serial)
        return folder

    def revoke(self, serial: int, revocation: Revocation) -> None:
        """Enter that a certificate is taken back, for ever. The first time counts."""
        if serial not in self._revoked:
            self._disk.append(self._index, revoked_line(serial, revocation))
            self._revoked[serial] = revocation

    def point(self, entry: Entry) -> None:
        """Let ``current`` in the holder's folder be this certificate. Idempotent."""
        link, target = self.home(entry.role, entry.name) / CURRENT, f"{entry.serial:x}"
        if link.is_symlink() and str(link.readlink()) == target:
            return
        draft = self._drafts / f"{target}.{CURRENT}"
        self._disk.link(draft, target)
        self._disk.move(draft, link)

    def list_of(self, authority: Entry) -> Path:
        """Return where an authority's own revocation list is."""
        return self.root / "lists" / f"{authority.serial:x}.pem"

    def replace(self, path: Path, body: bytes) -> None:
        """Let a file that is made from others hold this. Idempotent."""
        if path.exists() and path.read_bytes() == body:
            return
        self._disk.make_folder(path.parent)
        draft = self._drafts / path.name
        self._disk.write_new(draft, body)
        self._disk.move(draft, path)

    def _is_held(self, entry: Entry) -> bool:
        return (self.folder(entry) / CERTIFICATE).exists()
