"""The ledger can be read at any moment of its life, and never tells more than was written."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from firmware_sim.adapters.ledger_file import LedgerFile
from firmware_sim.core.ledger import (
    Chunk,
    ChunkKind,
    Entries,
    chunks,
    frame,
    pack_readings,
    unpack_readings,
)
from firmware_sim.core.readings import Readings
from firmware_sim.oracle.oracle import summarise
from tests.support.water import some_readings
from wire.metric import METRICS, Metric

SOME = [(ChunkKind.NOTE, b"{}"), (ChunkKind.COMMITTED, bytes(16)), (ChunkKind.EVENT, b"x" * 40)]
FILE = b"".join(frame(kind, body) for kind, body in SOME)
ENDS = [len(b"".join(frame(*chunk) for chunk in SOME[:n])) for n in range(len(SOME) + 1)]


@given(cut=st.integers(0, len(FILE)))
def test_a_torn_file_yields_its_whole_chunks_and_no_more(cut: int) -> None:
    whole = sum(end <= cut for end in ENDS) - 1
    assert list(chunks(io.BytesIO(FILE[:cut]))) == [Chunk(*chunk) for chunk in SOME[:whole]]


@given(at=st.integers(0, len(FILE) - 1), bit=st.integers(0, 7))
def test_a_damaged_chunk_ends_the_reading(at: int, bit: int) -> None:
    damaged = bytearray(FILE)
    damaged[at] ^= 1 << bit
    before = sum(end <= at for end in ENDS) - 1
    assert list(chunks(io.BytesIO(bytes(damaged)))) == [Chunk(*chunk) for chunk in SOME[:before]]


@given(
    values=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.just(METRICS)),
        elements=st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32)),
    ),
    seed=st.integers(0, 2**31),
)
def test_readings_come_back_as_they_were_entered(values: "np.ndarray", seed: int) -> None:  # type: ignore[type-arg]
    n, rng = len(values), np.random.default_rng(seed)
    made = Readings(
        rng.integers(0, 2**62, n),
        rng.integers(0, 2**47, n),
        values.astype(np.float64),
        hub=rng.integers(0, 2**15, n).astype(np.int16),
        kept=rng.integers(0, 2, n).astype(bool),
        label=rng.integers(-1, 2**31, n).astype(np.int32),
    )
    back = unpack_readings(pack_readings(Entries(made, made.observed_at_ms + 5)))
    for name in Readings.__slots__:
        there = getattr(back.readings, name)
        assert np.array_equal(there, getattr(made, name), equal_nan=name == "values")
    assert (back.published_at_ms == made.observed_at_ms + 5).all()


def test_a_ledger_can_be_read_while_it_grows_and_is_never_continued(tmp_path: Path) -> None:
    ledger = LedgerFile(tmp_path / "ledger")
    assert ledger.made(Entries(some_readings([1, 2], [5, 6]), np.zeros(2, np.int64))).tolist() == [
        0,
        1,
    ]
    assert summarise(tmp_path / "ledger").readings_of == {1: 1, 2: 1}
    rows = ledger.made(Entries(some_readings([2], [7]), np.zeros(1, np.int64)))
    ledger.committed(rows)
    ledger.event({"number": 0})
    ledger.note({"rows_empty": 3})
    summary = summarise(tmp_path / "ledger")
    assert rows.tolist() == [2]
    assert (summary.readings_of, summary.committed) == ({1: 1, 2: 2}, 1)
    assert (summary.events, summary.notes) == ([{"number": 0}], [{"rows_empty": 3}])
    with pytest.raises(FileExistsError):
        LedgerFile(tmp_path / "ledger")
    ledger.close()


def test_only_measured_metrics_take_room() -> None:
    one = some_readings([1] * 100, list(range(100)))
    body = pack_readings(Entries(one, one.observed_at_ms))
    two = some_readings([1] * 100, list(range(100)))
    two.values[:, Metric.FLOW] = 1.0
    assert len(pack_readings(Entries(two, two.observed_at_ms))) - len(body) == 400
