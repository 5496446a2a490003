"""A duplicate is known as one before the bucket is asked: a resend costs nothing."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.collect import Collector
from edge_agent.core.memory import Fate
from tests.support.hub import collector_on, feed, spool_at
from wire.limits import SENSOR_BURST

FULL = [(1, t, 7.0) for t in range(SENSOR_BURST)]
"""As many readings at once as a sensor may send."""


def fates(
    collector: Collector, readings: Sequence[tuple[int, int, float]], steady_ms: int
) -> dict[str, int]:
    """Return how many readings of one commit met which fate."""
    before = collector.counts.copy()
    feed(collector, readings, steady_ms)
    moved = collector.counts - before
    return {name: moved[name] for name in (fate.name.lower() for fate in Fate) if moved[name]}


@pytest.mark.spec("I6")
def test_a_resend_is_never_throttled_and_leaves_the_bucket_as_it_was(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0)
    assert fates(collector, FULL, 0) == {"taken": len(FULL)}
    assert fates(collector, FULL * 50, 1) == {"duplicate": 50 * len(FULL)}
    resent_with_news = [*FULL, (1, 1_000, 7.0), *FULL]
    assert fates(collector, resent_with_news, 2) == {"duplicate": 2 * len(FULL), "taken": 1}
    (told,) = feed(collector, FULL, 3).statuses
    assert not told[1].throttled
    spool.close()


def test_a_resend_beside_its_first_in_one_commit_costs_nothing(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0)
    assert fates(collector, FULL * 3, 0) == {"taken": len(FULL), "duplicate": 2 * len(FULL)}
    assert fates(collector, [(1, 1_000, 7.0)], 1) == {"taken": 1}
    spool.close()


def test_a_late_resend_does_not_fill_its_own_second(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0)
    fates(collector, [(1, 60_000, 7.0), (1, 5_000, 7.0)], 0)
    assert fates(collector, [(1, 5_000, 7.0)] * 9 + [(1, 5_500, 7.0)], 1) == {
        "duplicate": 9,
        "taken": 1,
    }
    spool.close()
