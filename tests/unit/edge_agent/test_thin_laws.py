"""Thinning: fewer rows, the same key, the same readings, the same mean."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core.thin import SUMMARY_MS, thinned
from wire.batch import Batch, Flag, Seal
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence
from wire.metric import METRICS
from wire.quality import Quality


def batch_of(rows: list[tuple[int, int]], **columns: Any) -> Batch:
    """Return a batch with a row for each (sensor, time)."""
    n = len(rows)
    rng = np.random.default_rng(n)
    values = rng.uniform(1, 9, (n, METRICS)).astype(np.float32)
    values[rng.random((n, METRICS)) < 0.3] = np.nan
    told = {
        "values": values,
        "quality": np.zeros(n, np.int16),
        "score": np.full(n, np.nan, np.float32),
        "samples": rng.integers(1, 10, n).astype(np.int32),
        **columns,
    }
    return Batch(
        Seal(BatchKey(HubId("h"), Epoch(1), Sequence(2)), Region("r")),
        np.array([sensor for sensor, _ in rows], np.int64),
        np.array([t for _, t in rows], np.int64),
        **told,
    )


ROWS = st.sets(st.tuples(st.integers(1, 3), st.integers(0, 5 * SUMMARY_MS)), min_size=1).map(sorted)


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_thinned_batch_keeps_key_samples_and_weighted_means(rows: list[tuple[int, int]]) -> None:
    batch = batch_of(rows)
    groups = {(sensor, t // SUMMARY_MS) for sensor, t in rows}
    thin = thinned(batch)
    if len(groups) == len(rows):
        assert thin is None
        return
    assert thin is not None
    assert thin.key == batch.key
    assert len(thin) == len(groups)
    assert thin.samples.sum() == batch.samples.sum()
    assert thin.seal.rows_lost == len(rows) - len(groups)
    assert thin.seal.flags == Flag.THINNED
    for row in range(len(thin)):
        mine = batch.sensor_ids == thin.sensor_ids[row]
        mine &= batch.observed_at_ms // SUMMARY_MS == thin.observed_at_ms[row] // SUMMARY_MS
        assert thin.observed_at_ms[row] == batch.observed_at_ms[mine].min()
        assert bool(thin.quality[row] & Quality.SUMMARY) == (mine.sum() > 1)
        for metric in range(METRICS):
            there = mine & ~np.isnan(batch.values[:, metric])
            if not there.any():
                assert np.isnan(thin.values[row, metric])
                continue
            mean = np.average(
                batch.values[there, metric].astype(float), weights=batch.samples[there]
            )
            assert abs(thin.values[row, metric] - mean) < 1e-5
    assert thinned(thin) is None, "thinning twice wins nothing"
