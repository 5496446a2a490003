"""Identity files: one JSON file a client, read again whenever it changes."""

import os
import secrets
from pathlib import Path

import structlog

from gateway.core.identity import (
    FILE_BYTES_MAX,
    Identity,
    MalformedIdentityError,
    Role,
    digest,
    format_identity,
    parse_identity,
    proves,
)
from wire.ids import Region, is_name

log = structlog.get_logger()


class IdentityFiles:
    """See ``gateway.ports.Directory``."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; it may still be empty."""
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], Identity | None]] = {}

    def find(self, name: str) -> Identity | None:
        """See ``gateway.ports.Directory``. A file that cannot be read is nobody's."""
        if not is_name(name):
            return None
        path = self._folder / f"{name}.json"
        try:
            status = path.stat()
        except FileNotFoundError:
            self._known.pop(name, None)
            return None
        signature = (status.st_ino, status.st_mtime_ns)
        known = self._known.get(name)
        if known is None or known[0] != signature:
            known = (signature, _read(path))
            self._known[name] = known
        return known[1]


def enrol(
    name: str, role: Role, region: str, *, folder: Path, token_file: Path, force: bool = False
) -> bool:
    """Make an identity and its token; return whether anything was written. Idempotent.

    A token that is already there is kept and enrolled; ``force`` draws a new one.

    Raises:
        MalformedIdentityError: The names are not names, or what is there is somebody else's.
    """
    path = folder / f"{name}.json"
    token = token_file.read_text().strip() if token_file.exists() and not force else ""
    found = parse_identity(path.read_text(), name=name) if path.exists() and not force else None
    fresh = token or secrets.token_urlsafe(32)
    wanted = Identity(name, role, Region(region), digest(fresh))
    if found is not None:
        same = (found.role, found.region) == (wanted.role, wanted.region)
        if not (token and same and proves(found, token)):
            raise MalformedIdentityError(
                f"{name} is already enrolled with another token, role or region; "
                "--force draws a new token and enrols it"
            )
        return False
    if not token:
        _write(token_file, fresh + "\n")
    _write(path, format_identity(wanted))
    return True


def _read(path: Path) -> Identity | None:
    try:
        with path.open() as file:
            return parse_identity(file.read(FILE_BYTES_MAX), name=path.stem)
    except (MalformedIdentityError, OSError, UnicodeDecodeError) as exc:
        log.warning("identity_unreadable", file=path.name, reason=str(exc))
        return None


def _write(path: Path, text: str) -> None:
    """Write a file only we can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
