"""A spool at its cap: thin oldest first, then shed on record, evidence of the last hour last."""

import sqlite3
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edge_agent.adapters.room import GRAVES_SHARE, PAGES_MIN
from edge_agent.adapters.spool import SqliteSpool
from edge_agent.collect import Collector
from edge_agent.core.recent import Recent
from edge_agent.ports import SpoolFullError
from tests.support.hub import (
    START_MS,
    at,
    collector_on,
    contents,
    feed,
    feed_heavy,
    heavy,
    spool_at,
)
from wire import ranges
from wire.batch import Batch, Flag, Kind, Tombstone
from wire.ids import BatchKey
from wire.limits import KIB
from wire.metric import Metric
from wire.quality import Quality

HOUR_MS = 3_600_000
WATCHED = range(300, 312)
"""Sensors that a dose passes, one after another."""


def sums(batches: list[Batch | Tombstone]) -> int:
    return sum(int(b.samples.sum()) for b in batches if isinstance(b, Batch))


def test_thinning_keeps_key_and_samples_and_counts_the_rows_it_merged(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, bytes_max=0)  # the least there is: 512 KiB
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=10**9)
    rng = np.random.default_rng(1)
    second = 0
    while not spool.gauges()["spool_batches_thinned"]:
        second += 1
        feed_heavy(collector, rng, 300, second * 1_000)
        assert second < 3_000
    batches = contents(spool)
    assert spool.gauges()["spool_batches_shed"] == 0
    assert sums(batches) == 300 * second - len(spool.load().held)
    assert [b.key.sequence for b in batches] == list(range(len(batches)))
    thin = [b for b in batches if Flag.THINNED in b.seal.flags]
    assert thin
    assert thin == batches[: len(thin)]
    for batch in thin:
        assert isinstance(batch, Batch)
        assert batch.seal.rows_lost == batch.samples.sum() - len(batch)
        assert (batch.quality[batch.samples > 1] & Quality.SUMMARY).all()
    spool.close()


def test_full_spool_goes_on_taking_and_its_tombstones_name_exactly_what_is_gone(
    tmp_path: Path,
) -> None:
    spool = spool_at(tmp_path, bytes_max=0)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    rng = np.random.default_rng(1)
    sealed: dict[int, int] = {}
    for second in range(110):
        for key in feed_heavy(collector, rng, 300, second * 1_000).sealed:
            sealed[key.sequence] = second
    gauges = spool.gauges()
    assert gauges["spool_bytes_max"] == 512 * KIB
    assert gauges["spool_bytes"] <= 480 * KIB, "room is made before it is needed"
    assert collector.counts["taken"] == 110 * 300
    left = contents(spool)
    graves = [stone for stone in left if isinstance(stone, Tombstone)]
    here = ranges.from_numbers(batch.key.sequence for batch in left)
    gone = ranges.minus(((0, spool.held()[0].next_sequence),), here)
    assert graves
    assert ranges.normal((g.low, g.high) for g in graves) == gone
    assert sum(g.high - g.low for g in graves) == ranges.count(gone) == gauges["spool_batches_shed"]
    assert sum(g.rows for g in graves) == 300 * ranges.count(gone)
    for grave in graves:
        assert grave.observed_from_ms == START_MS + 1_000 * sealed[grave.low]
        assert grave.observed_to_ms == START_MS + 1_000 * sealed[grave.high - 1]
    assert len(graves) == 1, "offline, one tombstone grows"
    spool.close()


def test_tombstone_that_was_sent_grows_no_more(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, bytes_max=0)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    sent: dict[BatchKey, bytes | None] = {}
    rng = np.random.default_rng(1)
    for second in range(140):
        feed_heavy(collector, rng, 300, second * 1_000)
        if second % 10 == 0:
            small = [spooled.key for spooled in spool.waiting(999, ()) if spooled.size < 400]
            sent |= {key: spool.body(key) for key in small if key not in sent}
    assert len(sent) > 1
    assert all(spool.body(key) == body for key, body in sent.items())
    spool.close()


def test_a_rotten_tombstone_still_says_what_is_gone(tmp_path: Path) -> None:
    spool, _ = dosed(tmp_path, 110)
    lost, stones = gone(spool)
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        raw.execute("update batches set body = zeroblob(100) where kind = 2")
    raw.close()
    assert gone(spool) == (lost, stones)
    assert spool.settle(spool.epoch, ((0, 10_000),), ()) > 0
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        assert raw.execute("select count(*) from graves").fetchone() == (0,)
    raw.close()
    spool.close()


def feed_until_full(collector: Collector) -> int:
    """Feed one endless window; return how many readings were taken before there was no room."""
    for second in count():
        try:
            feed(collector, [(s, second * 1_000, 7.0) for s in range(300)], second * 1_000)
        except SpoolFullError:
            return second * 300
    raise AssertionError


def test_spool_full_of_intake_alone_says_so_and_loses_nothing(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, bytes_max=0)
    collector = collector_on(spool, window_ms=HOUR_MS)
    taken = feed_until_full(collector)
    assert collector.buffered == 300
    assert len(spool.load().held) == taken > 0
    spool.close()


def test_cap_stays_below_what_the_disk_has_left(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, bytes_max=2**30, free_bytes=lambda _: 17 * 1024 * KIB)
    assert spool.gauges()["spool_bytes_max"] <= 2 * 1024 * KIB
    spool.close()


def dosed(folder: Path, seconds: int, step_ms: int = 1_000) -> tuple[SqliteSpool, Collector]:
    """Return a spool with far more in it than fits, evidence of a dose in the midst of it."""
    spool = spool_at(folder, bytes_max=0)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    rng = np.random.default_rng(1)
    for turn in range(seconds):
        ms = turn * step_ms
        if turn % 20 == 10:
            sensor = WATCHED[turn // 20 % len(WATCHED)]
            feed(collector, [(sensor, ms, 12.0)], ms)
        collector.absorb(heavy(rng, 300, ms), at(ms))
        collector.commit(at(ms))
    return spool, collector


def gone(spool: SqliteSpool) -> tuple[ranges.Ranges, list[Tombstone]]:
    """Return which sequences are gone, and the tombstones that say so."""
    left = contents(spool)
    here = ranges.from_numbers(batch.key.sequence for batch in left)
    stones = [stone for stone in left if isinstance(stone, Tombstone)]
    return ranges.minus(((0, spool.held()[0].next_sequence),), here), stones


def evidence(spool: SqliteSpool) -> list[Batch]:
    return [
        batch
        for batch in contents(spool)
        if isinstance(batch, Batch) and batch.seal.kind is Kind.EVIDENCE
    ]


@pytest.mark.spec("I6")
def test_evidence_of_the_last_hour_is_shed_after_everything_else(tmp_path: Path) -> None:
    spool, _ = dosed(tmp_path, 160)
    lost, stones = gone(spool)
    assert ranges.count(lost) > 40
    assert len(evidence(spool)) == 8, "every dose is still here"
    assert all(WATCHED[0] in batch.sensor_ids for batch in evidence(spool)[:1])
    assert ranges.normal((stone.low, stone.high) for stone in stones) == lost
    assert sum(stone.rows for stone in stones) == spool.gauges()["spool_rows_shed"]
    spool.close()


def test_evidence_older_than_an_hour_is_shed_in_its_turn(tmp_path: Path) -> None:
    spool, _ = dosed(tmp_path, 160, step_ms=HOUR_MS // 60)
    lost, stones = gone(spool)
    ages_ms = {
        batch.key.sequence: 159 * HOUR_MS // 60 + START_MS - int(batch.observed_at_ms.max())
        for batch in evidence(spool)
    }
    young = [sequence for sequence, age_ms in ages_ms.items() if age_ms < HOUR_MS]
    assert len(young) == 3, "the last hour's is still here"
    assert len(ages_ms) < 8
    # A little older it may be, if nothing was shed since it came of age.
    last = lost[-1][1]
    assert all(sequence > last for sequence, age in ages_ms.items() if age > HOUR_MS * 66 // 60)
    assert ranges.normal((stone.low, stone.high) for stone in stones) == lost
    spool.close()


def test_evidence_of_an_earlier_life_counts_as_young_at_first(tmp_path: Path) -> None:
    spool, _ = dosed(tmp_path, 30)
    spool.close()
    spool = spool_at(tmp_path, bytes_max=0)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0, steady_ms=30_000)
    rng = np.random.default_rng(2)
    for second in range(30, 130):
        feed_heavy(collector, rng, 300, second * 1_000)
    assert spool.gauges()["spool_batches_shed"] > 40
    assert len(evidence(spool)) == 1
    spool.close()


def test_a_hub_that_sheds_around_too_much_evidence_goes_by_age_alone(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, bytes_max=0)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    rng = np.random.default_rng(1)
    for second in range(160):
        odd = heavy(rng, 300, second * 1_000)
        odd.values[second % 50 :: 50, Metric.PH] = 12.0
        collector.absorb(odd, at(second * 1_000))
        collector.commit(at(second * 1_000))
    lost, stones = gone(spool)
    assert len(stones) <= PAGES_MIN // GRAVES_SHARE + 16, "nothing sheds them: they must stay few"
    assert ranges.count(lost) > 60
    assert ranges.normal((stone.low, stone.high) for stone in stones) == lost
    assert spool.gauges()["spool_bytes"] <= spool.gauges()["spool_bytes_max"]
    spool.close()


def test_what_is_recent_is_told_by_steady_time_to_a_sixtieth() -> None:
    recent = Recent(60_000, 5)
    assert recent.number == 5
    for second in range(0, 200, 10):
        recent.note(second * 1_000, 10 + second)
        sealed = [(0, 5), *((at_s, 10 + at_s) for at_s in range(10, second + 1, 10))]
        inside = [number for at_s, number in sealed if at_s > second - 60]
        assert recent.number <= inside[0]
        beyond = [number for at_s, number in sealed if at_s <= second - 61]
        assert not beyond or recent.number > beyond[-1]
