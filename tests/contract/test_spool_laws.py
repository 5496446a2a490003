"""What a spool promises, on a real file: keys, receipts, the cap, damage, and being killed."""

import sqlite3
from pathlib import Path

import pytest

from edge_agent.adapters.spool import QUARANTINE_MAX, SqliteSpool
from edge_agent.collect import Collector
from edge_agent.core.spooled import Urgency
from edge_agent.ports import SpoolLockedError, SpoolMismatchError
from tests.support.hub import (
    HUB,
    START_MS,
    at,
    collector_on,
    contents,
    feed,
    spool_at,
)
from wire.batch import Flag, Tombstone
from wire.ids import BatchKey, Epoch, Sequence

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
