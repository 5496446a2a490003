"""cloud.adapters.postgres.copy: the byte matrix says what a plain reader of the format reads."""

import asyncio
import struct
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cloud.adapters.postgres.copy import CHUNK_ROWS, EPOCH_2000_MS, READING_COLUMNS, stream
from cloud.core.rows import Rows
from wire.metric import METRICS

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
FORMATS = [">q", ">q", *[">f"] * METRICS, ">h", ">f", ">i"]


async def _joined(rows: Rows) -> bytes:
    return b"".join([chunk async for chunk in stream(rows)])


def read_back(body: bytes) -> list[tuple[Any, ...]]:
    """Read the format field by field, as its documentation tells it."""
    assert body.startswith(SIGNATURE)
    at, found = len(SIGNATURE), []
    while (fields := struct.unpack_from(">h", body, at)[0]) != -1:
        at, row = at + 2, []
        for kind in FORMATS[:fields]:
            (length,) = struct.unpack_from(">i", body, at)
            at += 4
            row.append(None if length == -1 else struct.unpack_from(kind, body, at)[0])
            assert length in (-1, struct.calcsize(kind))
            at += max(length, 0)
        found.append(tuple(row))
    assert at + 2 == len(body)
    return found


def rows_of(values: Any, score: Any, metrics: tuple[int, ...]) -> Rows:
    n = values.shape[1]
    return Rows(
        np.arange(n, dtype=np.int64) * 2**40,
        EPOCH_2000_MS + np.arange(n, dtype=np.int64) - 3,
        metrics,
        values,
        np.arange(n).astype(np.int16),
        score,
        np.arange(1, n + 1).astype(np.int32),
        np.zeros(n, np.int32),
    )


def expected(rows: Rows) -> list[tuple[Any, ...]]:
    return [
        (
            sensor_id,
            (at_ms - EPOCH_2000_MS) * 1_000,
            *(None if np.isnan(value) else value for value in values),
            quality,
            None if np.isnan(score) else score,
            samples,
        )
        for sensor_id, at_ms, values, quality, score, samples in zip(
            rows.sensor_ids.tolist(),
            rows.observed_at_ms.tolist(),
            rows.wide().tolist(),
            rows.quality.tolist(),
            rows.score.tolist(),
            rows.samples.tolist(),
            strict=True,
        )
    ]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_rows_read_back_as_they_were(data: st.DataObject) -> None:
    metrics = tuple(sorted(data.draw(st.sets(st.integers(0, METRICS - 1), max_size=5))))
    n = data.draw(st.integers(1, 9))
    number = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32))
    values = data.draw(hnp.arrays(np.float32, (len(metrics), n), elements=number))
    score = data.draw(hnp.arrays(np.float32, n, elements=st.sampled_from([np.nan, 0.0, 0.5, 1.0])))
    rows = rows_of(values, score, metrics)
    assert read_back(asyncio.run(_joined(rows))) == expected(rows)
    assert len(FORMATS) == len(READING_COLUMNS)


def test_chunks_join_without_a_seam() -> None:
    n = 2 * CHUNK_ROWS + 1
    values = np.linspace(6, 8, n, dtype=np.float32)[None]
    values[0, CHUNK_ROWS] = np.nan
    rows = rows_of(values, np.full(n, np.nan, np.float32), (0,))
    assert read_back(asyncio.run(_joined(rows))) == expected(rows)
