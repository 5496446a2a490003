"""How well scores tell events from ordinary water, counted row by row: no point adjustment."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_DAY_MS: Final = 86_400_000
MERGED_ROWS: Final = 10
"""Alarms no farther apart are one; an alarm no farther from an event is not false."""

Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well alarms met events.

    Attributes:
        f1: Of rows.
        precision: Of rows.
        recall: Of rows.
        events: Runs of event rows.
        found: Of those, with an alarm inside.
        false_alarms_a_day: Alarms that touch no event, a day of ordinary water.
    """

    f1: float
    precision: float
    recall: float
    events: int
    found: int
    false_alarms_a_day: float

    def as_json(self) -> dict[str, Any]:
        """Return it rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def alarms(scores: NDArray[np.float32], threshold: float) -> Marks:
    """Return the rows at which at least two of the last three scores reach a threshold.

    Args:
        scores: Shape ``(n,)``; NaN reaches nothing.
        threshold: 0..1.
    """
    high = np.concatenate([[False, False], np.nan_to_num(scores, nan=-1.0) >= threshold])
    two: Marks = high[2:] & (high[1:-1] | high[:-2])
    return two


def judge(event: Marks, alarm: Marks, row_ms: int) -> Verdict:
    """Return how well alarms meet events.

    Args:
        event: Shape ``(n,)``.
        alarm: Shape ``(n,)``.
        row_ms: From one row to the next.
    """
    hits = int((event & alarm).sum())
    precision, recall = hits / max(1, int(alarm.sum())), hits / max(1, int(event.sum()))
    events = runs(event)
    found = sum(bool(alarm[low:high].any()) for low, high in events)
    wide = np.zeros(len(event), np.bool_)
    for low, high in events:
        wide[max(0, low - MERGED_ROWS) : high + MERGED_ROWS] = True
    joined = alarm.copy()
    for (_, low), (high, _) in zip(runs(alarm), runs(alarm)[1:], strict=False):
        joined[low:high] |= high - low <= MERGED_ROWS
    false = sum(not wide[low:high].any() for low, high in runs(joined))
    days = int((~event).sum()) * row_ms / _DAY_MS
    f1 = 2 * hits / max(1, int(alarm.sum()) + int(event.sum()))
    return Verdict(f1, precision, recall, len(events), found, false / days)


def runs(marks: Marks) -> list[tuple[int, int]]:
    """Return ``[low, high)`` of each run of marked rows."""
    edges = np.flatnonzero(np.diff(marks.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
