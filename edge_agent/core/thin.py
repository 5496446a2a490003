"""What the spool does at its cap: summaries first, tombstones last. Nothing goes uncounted."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.rows import Rows, merged
from wire.batch import Batch, Flag
from wire.quality import Quality

SUMMARY_MS: Final = 60_000


def thinned(batch: Batch) -> Batch | None:
    """Return the batch with one row a sensor and minute, or None if it has no more than that.

    It keeps its key: raw or thin, whichever the store commits first is the batch. The sum of
    ``samples`` stays; merged rows are marked SUMMARY; rows merged away are added to ``rows_lost``.
    """
    raw = Rows(batch.sensor_ids, batch.observed_at_ms, batch.values, batch.quality, batch.samples)
    starts = minutes(raw)
    if len(starts) == len(batch):
        return None
    rows = merged(raw, starts)
    several = np.diff(starts, append=len(batch)) > 1
    seal = replace(
        batch.seal,
        flags=batch.seal.flags | Flag.THINNED,
        rows_lost=batch.seal.rows_lost + len(batch) - len(starts),
    )
    return Batch(
        seal,
        rows.sensor_ids,
        rows.observed_at_ms,
        rows.values,
        np.where(several, rows.quality | Quality.SUMMARY, rows.quality).astype(np.int16),
        np.fmax.reduceat(batch.score, starts),
        rows.samples,
    )


def minutes(rows: Rows) -> NDArray[np.intp]:
    """Return where each sensor's each minute begins, in rows by sensor and time; at least one."""
    minute = rows.observed_at_ms // SUMMARY_MS
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows.sensor_ids[1:] != rows.sensor_ids[:-1]) | (minute[1:] != minute[:-1])
    return np.flatnonzero(new)
