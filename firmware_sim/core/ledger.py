"""The ledger's form on disk: chunks that can be appended, read while they grow, and torn.

A file is chunks after one another, each a fixed head (kind, length, CRC of the body) and a body.
A reader stops at the first chunk that is incomplete: it was being written when somebody looked.

READINGS bodies are columns of ``n`` rows (see ``pack_readings``); a reading's *row* is its place
among all readings of the file. COMMITTED bodies are int64 rows whose sensors know them committed.
EVENT and NOTE bodies are JSON objects.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.readings import Readings
from wire.metric import METRICS

CHUNK_BYTES_MAX: Final = 64 * 1024 * 1024
_HEAD: Final = struct.Struct("<4sBIII")  # magic, kind, body length, body crc, head crc
_MAGIC: Final = b"HGL1"
_COUNTS: Final = struct.Struct("<II")  # rows, bit mask of the metrics measured


class ChunkKind(IntEnum):
    """What a chunk holds. Append only."""

    READINGS = 1
    COMMITTED = 2
    EVENT = 3
    NOTE = 4


class Chunk(NamedTuple):
    """One whole chunk."""

    kind: ChunkKind
    body: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Readings as the ledger knows them.

    Attributes:
        readings: What was made.
        published_at_ms: int64, shape ``(n,)``, wall time of handing each over for the first time.
    """

    readings: Readings
    published_at_ms: NDArray[np.int64]


def frame(kind: ChunkKind, body: bytes) -> bytes:
    """Return a chunk as it lies in the file."""
    assert len(body) <= CHUNK_BYTES_MAX, "a chunk too large to be read again"
    head = _HEAD.pack(_MAGIC, kind, len(body), crc32(body), 0)
    return head[:-4] + struct.pack("<I", crc32(head[:-4])) + body


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield every whole chunk from the start; end at the first torn or foreign one."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        magic, kind, length, crc, head_crc = _HEAD.unpack(head)
        if magic != _MAGIC or crc32(head[:-4]) != head_crc or length > CHUNK_BYTES_MAX:
            return
        body = file.read(length)
        if len(body) < length or crc32(body) != crc:
            return
        yield Chunk(ChunkKind(kind), body)


def pack_readings(entries: Entries) -> bytes:
    """Return the body of a READINGS chunk: counts, then the columns, then measured values.

    Values are kept as float32, the precision of the tables they are compared with.
    """
    made = entries.readings
    measured = np.flatnonzero(~np.isnan(made.values).all(axis=0))
    columns = (
        made.sensor_ids.astype("<i8"),
        made.observed_at_ms.astype("<i8"),
        entries.published_at_ms.astype("<i8"),
        made.label.astype("<i4"),
        made.hub.astype("<i2"),
        made.kept.astype("u1"),
        made.values[:, measured].astype("<f4"),
    )
    mask = int((1 << measured).sum())
    return _COUNTS.pack(len(made), mask) + b"".join(column.tobytes() for column in columns)


def unpack_readings(body: bytes) -> Entries:
    """Return what ``pack_readings`` packed, values at float32's precision."""
    n, mask = _COUNTS.unpack_from(body)
    measured = [metric for metric in range(METRICS) if mask >> metric & 1]
    at = _COUNTS.size
    columns: list[NDArray[np.generic]] = []
    for dtype, width in (("<i8", 1), ("<i8", 1), ("<i8", 1), ("<i4", 1), ("<i2", 1), ("u1", 1)):
        columns.append(np.frombuffer(body, dtype, n * width, at))
        at += columns[-1].nbytes
    values = np.full((n, METRICS), np.nan)
    values[:, measured] = np.frombuffer(body, "<f4", n * len(measured), at).reshape(
        n, len(measured)
    )
    sensor_ids, observed, published, label, hub, kept = columns
    made = Readings(
        sensor_ids.astype(np.int64),
        observed.astype(np.int64),
        values,
        hub=hub.astype(np.int16),
        kept=kept.astype(bool),
        label=label.astype(np.int32),
    )
    return Entries(made, published.astype(np.int64))


def pack_json(fields: dict[str, object]) -> bytes:
    """Return the body of an EVENT or NOTE chunk."""
    return json.dumps(fields, separators=(",", ":")).encode()
