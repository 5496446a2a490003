"""The ledger as one growing file. A chunk is one write: whole, or the torn last of a dead run."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.ledger import ChunkKind, Entries, frame, pack_json, pack_readings


class LedgerFile:
    """See ``ports.Ledger``. Survives the death of this process, not of the machine."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            FileExistsError: A ledger is never continued: its rows would be numbered twice.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._rows = 0

    def close(self) -> None:
        """Close the file. Not idempotent."""
        os.close(self._file)

    def made(self, entries: Entries) -> NDArray[np.int64]:
        """See ``ports.Ledger``."""
        n = len(entries.readings)
        if n:
            self._append(ChunkKind.READINGS, pack_readings(entries))
        self._rows += n
        return np.arange(self._rows - n, self._rows, dtype=np.int64)

    def committed(self, rows: NDArray[np.int64]) -> None:
        """See ``ports.Ledger``."""
        self._append(ChunkKind.COMMITTED, rows.astype("<i8").tobytes())

    def event(self, fields: dict[str, object]) -> None:
        """See ``ports.Ledger``."""
        self._append(ChunkKind.EVENT, pack_json(fields))

    def note(self, fields: dict[str, object]) -> None:
        """See ``ports.Ledger``."""
        self._append(ChunkKind.NOTE, pack_json(fields))

    def _append(self, kind: ChunkKind, body: bytes) -> None:
        chunk = frame(kind, body)
        written = os.write(self._file, chunk)
        if written != len(chunk):
            raise OSError(f"ledger: wrote {written} of {len(chunk)} bytes; is the disk full?")
