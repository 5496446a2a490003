"""An agent killed at any statement: nothing committed is lost, no window is sent twice."""

from itertools import count
from pathlib import Path

import pytest

from tests.support.hub import (
    START_MS,
    DyingConnection,
    Killed,
    at,
    collector_on,
    contents,
    dying,
    feed,
    rows_of,
    spool_at,
)
from wire.batch import Batch, Kind


def survive(folder: Path, dies_at: int, afterwards: bool) -> tuple[bool, set[tuple[int, int]]]:
    """Live until the n-th statement; return whether it was met, and what was told committed."""
    DyingConnection.left, DyingConnection.afterwards = dies_at, afterwards
    told: set[tuple[int, int]] = set()
    spool = None
    try:
        spool = spool_at(folder, connect=dying)
        collector = collector_on(spool, batch_age_ms_max=0)
        for second in (0, 4, 8, 12, 16, 24):
            ph = 12.0 if second == 8 else 7.0
            readings = [(s, second * 1_000, ph) for s in (1, 2)]
            feed(collector, readings, second * 1_000)
            told |= {(s, second * 1_000) for s in (1, 2)}
    except Killed:
        return True, told
    finally:
        DyingConnection.left = -1
        if spool is not None:
            spool.close()
    return False, told


@pytest.mark.parametrize("afterwards", [False, True])
def test_killed_at_any_statement_nothing_committed_is_lost_and_no_window_is_sent_twice(
    tmp_path: Path, afterwards: bool
) -> None:
    everything = {(s, t * 1_000) for s in (1, 2) for t in (0, 4, 8, 12, 16, 24, 48)}
    for dies_at in count():
        folder = tmp_path / str(dies_at)
        met, told = survive(folder, dies_at, afterwards)
        spool = spool_at(folder)
        before = {(s, t) for s, t, _ in rows_of(contents(spool))}
        held = spool.load().held
        kept = set(zip(held.sensor_ids.tolist(), held.observed_at_ms.tolist(), strict=True))
        assert not before & {(s, t - START_MS) for s, t in kept}, "sealed and still in intake"
        sealed = sum(
            int(b.samples.sum())
            for b in contents(spool)
            if isinstance(b, Batch) and b.seal.kind is Kind.ROUTINE
        )
        assert sealed + len(held) >= len(told)
        collector = collector_on(spool, 25_000, batch_age_ms_max=0)
        for second in (0, 4, 8, 12, 16, 24, 48):  # the sensor, unsure, resends everything
            feed(collector, [(s, second * 1_000, 7.0) for s in (1, 2)], 25_000 + second)
        collector.commit(at(90_000))
        collector.commit(at(190_000))
        routine = [b for b in contents(spool) if b.seal.kind is Kind.ROUTINE]
        rows = rows_of(routine)
        assert sum(samples for *_, samples in rows) == len(everything), dies_at
        assert len({row[:2] for row in rows}) == len(rows)
        for epoch in {b.key.epoch for b in contents(spool)}:
            numbers = [b.key.sequence for b in contents(spool) if b.key.epoch == epoch]
            assert sorted(numbers) == list(range(len(numbers)))
        spool.close()
        if not met:
            assert dies_at > 30
            return
