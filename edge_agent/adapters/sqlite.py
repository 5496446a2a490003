"""One SQLite file that survives power cuts: opened by one agent, used by one thread."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from edge_agent.ports import SpoolFaultError, SpoolFullError, SpoolLockedError
from wire.limits import MIB

PAGE_BYTES: Final = 4_096
LOG_BYTES_MAX: Final = 4 * MIB
"""The write-ahead log beside the file; a checkpoint brings it back to this."""

Connect: TypeAlias = Callable[[Path], sqlite3.Connection]


def named_statements(path: Path) -> dict[str, str]:
    """Return the statements of a ``.sql`` file by the names in their ``-- name:`` lines."""
    parts = path.read_text(encoding="utf-8").split("-- name: ")[1:]
    split = (part.partition("\n") for part in parts)
    return {name.strip(): statement.strip() for name, _, statement in split}


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection without transactions of its own making."""
    return sqlite3.connect(path, isolation_level=None)


class Lock:
    """A data directory is one agent's."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            SpoolLockedError: Another agent has it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(self._file)
            raise SpoolLockedError(
                f"another agent owns {folder}; stop it first, or give this one its own data_dir"
            ) from exc

    def release(self) -> None:
        """Let it go."""
        os.close(self._file)


class Database:
    """A connection whose every failure is one of two: full, or faulty."""

    def __init__(self, path: Path, statements: dict[str, str], connect: Connect) -> None:
        """Open the file and bring its tables up.

        Raises:
            SpoolFaultError: The disk cannot serve it.
        """
        self._statements = statements
        self._connection: sqlite3.Connection | None = None
        with self._translated():
            self._connection = connect(path)
            for pragma in (
                f"page_size = {PAGE_BYTES}",
                "journal_mode = wal",
                "synchronous = full",
                f"journal_size_limit = {LOG_BYTES_MAX}",
                "temp_store = memory",
                "cache_size = -2048",
            ):
                self._connection.execute(f"pragma {pragma}").fetchall()
            self._connection.executescript(statements["schema"])

    @property
    def whole(self) -> bool:
        """Whether no fault has been met."""
        return self._connection is not None

    def verify(self) -> None:
        """Read the whole file.

        Raises:
            SpoolFaultError: It is damaged.
        """
        found = self.read("pragma quick_check(1)")
        if found != [("ok",)]:
            self.close()
            raise SpoolFaultError(f"the spool is damaged: {found[0][0]}")

    def run(self, name: str, *values: Any) -> int:
        """Run a named statement; return how many rows it touched."""
        with self._translated():
            return self._open().execute(self._statements[name], values).rowcount

    def run_many(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run a named statement once for each row."""
        with self._translated():
            self._open().executemany(self._statements[name], rows)

    def all(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a named query."""
        return self.read(self._statements[name], *values)

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._translated():
            return self._open().execute(query, values).fetchall()

    def number(self, pragma: str) -> int:
        """Return a pragma that is a number."""
        return int(self.read(f"pragma {pragma}")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one: all of it, synced to disk, or nothing."""
        self.read("begin immediate")
        try:
            yield
            self.read("commit")
        finally:
            if self._connection is not None and self._connection.in_transaction:
                with self._translated():
                    self._connection.rollback()

    def close(self) -> None:
        """Close it, without a further word to a disk that may have failed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SpoolFaultError("the spool is closed")
        return self._connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a key used twice is a bug of ours, not a fault of the disk
        except sqlite3.DatabaseError as exc:
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise SpoolFullError(str(exc)) from exc
            # After a failed sync nobody knows what is on disk: only reading it again can tell.
            self.close()
            raise SpoolFaultError(str(exc)) from exc
