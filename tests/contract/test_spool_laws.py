"""What a spool promises, on a real file: keys, receipts, the cap, damage, and being killed."""

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.adapters.spool import QUARANTINE_MAX, SqliteSpool
from edge_agent.collect import Collector
from edge_agent.core.spooled import Urgency
from edge_agent.ports import SpoolFaultError, SpoolFullError, SpoolLockedError, SpoolMismatchError
from tests.support.hub import (
    HUB,
    START_MS,
    DyingConnection,
    Killed,
    at,
    collector_on,
    contents,
    dying,
    feed,
    feed_heavy,
    message,
    rows_of,
    spool_at,
)
from wire import ranges
from wire.batch import Batch, Flag, Kind, Tombstone
from wire.ids import BatchKey, Epoch, Sequence
from wire.limits import KIB
from wire.quality import Quality

HOUR_MS = 3_600_000


def fill(folder: Path, seconds: int, sensors: int = 3) -> tuple[SqliteSpool, Collector]:
    """Return a spool with one raw batch a second in it, and its collector."""
    spool = spool_at(folder)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    for second in range(seconds):
        feed(collector, [(s, second * 1_000, 7.0) for s in range(sensors)], second * 1_000)
    return spool, collector


@pytest.mark.spec("I12")
def test_every_life_has_a_new_epoch_and_sequences_without_gap_or_reuse(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    for life in range(4):
        spool = spool_at(tmp_path)
        collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
        for second in range(3):
            now = (life * 10 + second) * 1_000
            keys = feed(collector, [(1, now, 7.0)], now).sealed
            seen += [(key.epoch, key.sequence) for key in keys]
        spool.close()
    epochs = list(dict.fromkeys(epoch for epoch, _ in seen))
    assert len(epochs) == 4
    assert all([s for e, s in seen if e == epoch] == [0, 1, 2] for epoch in epochs)


def test_sequence_goes_on_after_everything_was_receipted(tmp_path: Path) -> None:
    spool, collector = fill(tmp_path, 3)
    assert spool.settle(spool.epoch, ((0, 3),), ()) == 3
    keys = feed(collector, [(1, 9_000, 7.0)], 9_000).sealed
    assert [key.sequence for key in keys] == [3]
    spool.close()


def test_restored_copy_of_the_spool_never_reuses_a_key(tmp_path: Path) -> None:
    spool, _ = fill(tmp_path / "card", 2)
    spool.close()
    original = (tmp_path / "card" / "spool.db").read_bytes()
    used: set[BatchKey] = set()
    for life in range(3):
        card = tmp_path / "card" / "spool.db"
        card.write_bytes(original)
        for log in (tmp_path / "card").glob("spool.db-*"):
            log.unlink()
        spool = spool_at(tmp_path / "card")
        collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
        sealed = feed(collector, [(1, 60_000 + life, 7.0)], 60_000).sealed
        assert not used & set(sealed)
        used |= set(sealed)
        spool.close()
    assert len(used) == 3


def test_two_agents_on_one_directory_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    spool, collector = fill(tmp_path, 1)
    with pytest.raises(SpoolLockedError, match="another agent owns"):
        spool_at(tmp_path)
    assert feed(collector, [(1, 5_000, 7.0)], 5_000).sealed
    spool.close()
    spool_at(tmp_path).close()


def test_another_hubs_spool_is_refused(tmp_path: Path) -> None:
    spool_at(tmp_path).close()
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        raw.execute("update hub set hub_id = 'hub-9'")
    raw.close()
    with pytest.raises(SpoolMismatchError, match="hub-9"):
        spool_at(tmp_path)


def test_settling_is_idempotent_and_forgets_only_what_is_covered(tmp_path: Path) -> None:
    spool, _ = fill(tmp_path, 8)
    epoch = spool.epoch
    assert spool.settle(epoch, ((1, 3), (5, 6)), ()) == 3
    assert spool.settle(epoch, ((1, 3), (5, 6)), ()) == 0
    assert spool.settle(Epoch(epoch ^ 1), ((0, 100),), ()) == 0
    assert spool.held()[0].held == ((0, 1), (3, 5), (6, 8))
    assert [batch.key.sequence for batch in contents(spool)] == [0, 3, 4, 6, 7]
    spool.close()


def test_refused_batches_move_to_quarantine_once(
    tmp_path: Path,
) -> None:
    spool, _ = fill(tmp_path, 4)
    assert spool.settle(spool.epoch, ((0, 3),), ((1, 2),)) == 3
    assert spool.gauges()["spool_quarantined"] == 1
    assert spool.settle(spool.epoch, ((0, 3),), ((1, 2),)) == 0
    assert spool.gauges()["spool_quarantined"] == 1
    spool.close()


def test_quarantine_is_bounded_and_the_oldest_make_way(tmp_path: Path) -> None:
    spool, _ = fill(tmp_path, QUARANTINE_MAX + 2, sensors=1)
    everything = ((0, QUARANTINE_MAX + 2),)
    assert spool.settle(spool.epoch, everything, everything) == QUARANTINE_MAX + 2
    assert spool.gauges()["spool_quarantined"] == QUARANTINE_MAX
    spool.close()
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        assert raw.execute("select min(sequence) from quarantine").fetchone() == (2,)
    raw.close()


def test_held_names_the_present_life_first_then_the_oldest_with_their_next_sequence(
    tmp_path: Path,
) -> None:
    epochs = []
    for life in range(3):
        spool = spool_at(tmp_path)
        collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
        for second in range(life + 1):
            now = (life * 100 + second) * 1_000
            feed(collector, [(1, now, 7.0)], now)
        epochs.append(spool.epoch)
        spool.close()
    spool = spool_at(tmp_path)
    spool.settle(epochs[1], ((0, 1),), ())
    spool.settle(epochs[0], ((0, 9),), ())
    held = spool.held()
    assert [h.epoch for h in held] == [spool.epoch, epochs[1], epochs[2]]
    assert [h.next_sequence for h in held] == [0, 2, 3]
    assert [h.held for h in held] == [(), ((1, 2),), ((0, 3),)]
    spool.close()


def test_urgent_goes_first_then_live_newest_first_then_backlog_oldest_first(tmp_path: Path) -> None:
    old, _ = fill(tmp_path, 2)
    old.close()
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0, steady_ms=100_000)
    for second in (100, 130, 170):
        feed(collector, [(1, second * 1_000, 7.0)], second * 1_000)
    feed(collector, [(1, 175_000, 12.0)], 175_000)
    found = spool.waiting(100, ())
    assert [s.urgency for s in found] == [Urgency.URGENT] + [Urgency.LIVE] * 3 + [
        Urgency.BACKLOG
    ] * 3
    mine, before = spool.epoch, old.epoch
    assert [(s.key.epoch, s.key.sequence) for s in found] == [
        (mine, 3), (mine, 4), (mine, 2), (mine, 1), (before, 0), (before, 1), (mine, 0),
    ]  # fmt: skip
    skipped = {found[0].key, found[4].key}
    assert spool.waiting(3, skipped) == [found[1], found[2], found[3]]
    assert spool.waiting(100, skipped) == [s for s in found if s.key not in skipped]
    spool.close()


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


def test_rotten_batch_becomes_a_tombstone_that_says_why(tmp_path: Path) -> None:
    spool, _ = fill(tmp_path, 3)
    epoch = spool.epoch
    with sqlite3.connect(tmp_path / "spool.db") as raw:
        body = bytearray(raw.execute("select body from batches where sequence = 1").fetchone()[0])
        body[len(body) // 2] ^= 0x10
        raw.execute("update batches set body = ? where sequence = 1", (bytes(body),))
    raw.close()
    key = BatchKey(HUB, epoch, Sequence(1))
    assert spool.body(key) is None
    assert spool.body(key) is None
    (stone,) = (s for s in contents(spool) if isinstance(s, Tombstone))
    assert (stone.key.sequence, stone.epoch, stone.low, stone.high) == (3, epoch, 1, 2)
    assert (stone.rows, stone.observed_from_ms) == (3, START_MS + 1_000)
    assert "damaged" in stone.reason
    assert spool.held()[0].held == ((0, 1), (2, 4))
    spool.close()


def test_backfill_marks_every_batch_with_its_floor_and_none_is_live(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, floor_ms=1_000)
    collector = collector_on(spool, backfill=True)
    feed(collector, [(1, t * 1_000, 12.0) for t in range(5)], 0)
    collector.commit(at(1_000))
    (batch,) = contents(spool)
    assert batch.seal.flags == Flag.BACKFILL
    assert batch.seal.floor_ms == 1_000
    assert [s.urgency for s in spool.waiting(9, ())] == [Urgency.BACKLOG]
    spool.close()


class FaultyConnection(sqlite3.Connection):
    """Its disk fails on the next commit, before or after writing it."""

    fails = ""

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if args[0] == "commit" and type(self).fails:
            when, type(self).fails = type(self).fails, ""
            if when == "after":
                super().execute("commit")
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(*args)


@pytest.mark.parametrize("when", ["before", "after"])
def test_failed_sync_is_never_retried_and_the_buffer_is_offered_again_once(
    tmp_path: Path, when: str
) -> None:
    spool = spool_at(
        tmp_path,
        connect=lambda path: sqlite3.connect(path, isolation_level=None, factory=FaultyConnection),
    )
    collector = collector_on(spool)
    first = spool.epoch
    feed(collector, [(1, 0, 7.0)], 0)
    collector.absorb(message([(1, 1_000, 7.0), (2, None, 7.0)]), at(1_000))
    FaultyConnection.fails = when
    with pytest.raises(SpoolFaultError):
        collector.commit(at(1_000))
    with pytest.raises(SpoolFaultError):
        collector.commit(at(1_001))
    collector.recover(at(2_000))
    assert spool.epoch != first
    assert spool.gauges()["spool_faults"] == 1
    told = collector.commit(at(2_001)).statuses
    assert {s: t.committed_through_ms - START_MS for s, t in told} == {1: 1_000, 2: 1_000}
    held = spool.load().held
    instants = zip(held.sensor_ids.tolist(), (held.observed_at_ms - START_MS).tolist(), strict=True)
    assert sorted(instants) == [(1, 0), (1, 1_000), (2, 1_000)]
    spool.close()


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
        assert sums([b for b in contents(spool) if b.seal.kind is Kind.ROUTINE]) + len(held) >= len(
            told
        )
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
