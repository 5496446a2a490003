"""Rows as PostgreSQL's binary COPY stream: one byte matrix a chunk, no loop over rows.

A row is a two-byte field count, then each field's four-byte length and its bytes, big-endian; an
absent field is a length of -1 and nothing more. The matrix has room for every field; a mask of
bytes leaves out those an absent field does not have.
Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.rows import Rows
from wire.metric import COLUMNS

READING_COLUMNS: Final = ("sensor_id", "timestamp", *COLUMNS, "quality", "score", "samples")
EPOCH_2000_MS: Final = 946_684_800_000
CHUNK_ROWS: Final = 4_096  # a chunk and its mask stay in the cache

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_ABSENT: Final = -1
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    **{column: np.dtype(">f4") for column in (*COLUMNS, "score")},
    "sensor_id": np.dtype(">i8"),
    "timestamp": np.dtype(">i8"),
    "quality": np.dtype(">i2"),
    "samples": np.dtype(">i4"),
}


async def stream(rows: Rows) -> AsyncIterator[bytes]:
    """Yield the whole stream for ``READING_COLUMNS``, NaN as NULL."""
    yield _HEADER
    for start in range(0, len(rows), CHUNK_ROWS):
        yield _chunk(rows.take(slice(start, start + CHUNK_ROWS)))
    yield _TRAILER


def _chunk(rows: Rows) -> bytes:
    columns = {
        "sensor_id": rows.sensor_ids,
        "timestamp": (rows.observed_at_ms - EPOCH_2000_MS) * 1_000,
        "quality": rows.quality,
        "samples": rows.samples,
    }
    partly = {}
    measured = zip((COLUMNS[metric] for metric in rows.metrics), rows.values, strict=True)
    for name, values in (*measured, ("score", rows.score)):
        absent = np.isnan(values)
        if absent.any():
            if absent.all():
                continue
            partly[name] = absent
        columns[name] = values
    matrix = _matrix(len(rows), columns)
    return _masked(matrix, partly) if partly else matrix.tobytes()


def _matrix(n: int, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.void]:
    """Return ``n`` rows with every field of ``columns`` present and all others absent."""
    matrix = np.empty(n, _layout(tuple(sorted(columns))))
    matrix["fields"] = len(READING_COLUMNS)
    for name in READING_COLUMNS:
        if name in columns:
            matrix[_length(name)] = _TYPES[name].itemsize
            matrix[name] = columns[name]
        else:
            matrix[_length(name)] = _ABSENT
    return matrix


def _masked(matrix: NDArray[np.void], partly: Mapping[str, NDArray[np.bool_]]) -> bytes:
    """Return the matrix's bytes without the fields that are absent in some rows."""
    assert matrix.dtype.fields is not None
    mask = np.ones((len(matrix), matrix.dtype.itemsize), np.bool_)
    for name, absent in partly.items():
        matrix[_length(name)][absent] = _ABSENT
        offset = matrix.dtype.fields[name][1]
        mask[:, offset : offset + _TYPES[name].itemsize] = ~absent[:, None]
    return matrix.view(np.uint8).reshape(mask.shape)[mask].tobytes()


@lru_cache(maxsize=256)
def _layout(present: tuple[str, ...]) -> np.dtype[np.void]:
    fields: list[tuple[str, np.dtype[Any]]] = [("fields", np.dtype(">i2"))]
    for name in READING_COLUMNS:
        fields.append((_length(name), np.dtype(">i4")))
        if name in present:
            fields.append((name, _TYPES[name]))
    return np.dtype(fields)


def _length(name: str) -> str:
    return f"{name} length"
