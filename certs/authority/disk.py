"""The file system, one durable step at a time: what returned survives a power cut."""

import os
from pathlib import Path
from typing import Final, Protocol

FOLDER_MODE: Final = 0o700
SECRET_MODE: Final = 0o600


class Disk(Protocol):
    """Steps that change something. Tests give one that dies at any of them."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, 0700 from the first moment. Idempotent."""
        ...

    def write_new(self, path: Path, body: bytes) -> None:
        """Write a file that was not there, 0600 from the first moment.

        Raises:
            FileExistsError: It was.
        """
        ...

    def append(self, path: Path, line: bytes) -> None:
        """Add to the end of a file, which is made if need be. A crash may leave a part."""
        ...

    def cut(self, path: Path, size: int) -> None:
        """Shorten a file."""
        ...

    def link(self, path: Path, target: str) -> None:
        """Make a symbolic link that was not there."""
        ...

    def move(self, source: Path, target: Path) -> None:
        """Put a file, link or folder in its place, at once; a file or link there is replaced."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file or link. Idempotent."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        ...


class RealDisk:
    """The machine's own."""

    def make_folder(self, path: Path) -> None:
        """See ``Disk``."""
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            _sync(folder.parent)

    def write_new(self, path: Path, body: bytes) -> None:
        """See ``Disk``."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        _write(os.open(path, flags, SECRET_MODE), body)
        _sync(path.parent)

    def append(self, path: Path, line: bytes) -> None:
        """See ``Disk``."""
        is_new = not path.exists()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        _write(os.open(path, flags, SECRET_MODE), line)
        if is_new:
            _sync(path.parent)

    def cut(self, path: Path, size: int) -> None:
        """See ``Disk``."""
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def link(self, path: Path, target: str) -> None:
        """See ``Disk``."""
        path.symlink_to(target)

    def move(self, source: Path, target: Path) -> None:
        """See ``Disk``."""
        source.replace(target)
        _sync(target.parent)

    def remove(self, path: Path) -> None:
        """See ``Disk``."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """See ``Disk``."""
        path.rmdir()


def _write(descriptor: int, body: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
