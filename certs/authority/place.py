"""Where key material may lie: outside of every git work tree, and closed to everybody else."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from certs.core.errors import CertsError

_POLL_S: Final = 0.02


def outside_git(path: Path) -> Path:
    """Return the path, absolute and without links, if nobody can commit what lies there.

    Raises:
        CertsError: It is inside a git work tree.
    """
    real = path.expanduser().resolve()
    for folder in (real, *real.parents):
        if (folder / ".git").exists():
            raise CertsError(
                f"{path} is inside the git work tree {folder}: keys there end in a commit",
                hint="choose a folder outside of it, with --home, --root-dir or --out",
            )
    return real


def must_be_closed(path: Path) -> None:
    """Refuse a file or folder that others can read or change; one that is not there is fine.

    Raises:
        CertsError: It is open to others, or somebody else's.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        raise CertsError(f"{path} belongs to somebody else", hint="run this as its owner")
    if found.st_mode & 0o077:
        raise CertsError(
            f"{path} is open to others ({stat.S_IMODE(found.st_mode):04o})",
            hint=f"chmod {'700' if stat.S_ISDIR(found.st_mode) else '600'} {path}",
        )


@contextmanager
def locked(path: Path, *, within_s: float) -> Iterator[None]:
    """Hold a lock file; the kernel lets go of it if we die.

    Raises:
        CertsError: Somebody else holds it all that time.
    """
    deadline = time.monotonic() + within_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise CertsError(
                    f"another command has held {path} for {within_s:.0f} s",
                    hint="wait for it, then type the same again",
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
