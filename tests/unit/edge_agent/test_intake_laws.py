"""Which readings a hub takes, what it tells their sensors, and how windows come out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.collect import Collector
from edge_agent.core.memory import MEMORY_MS
from tests.support.hub import START_MS, at, collector_on, contents, feed, message, rows_of, spool_at
from wire.batch import Batch, Kind
from wire.metric import Metric
from wire.quality import Quality

HOUR = MEMORY_MS


def fates(
    collector: Collector, readings: Sequence[tuple[int, int | None, float]], steady_ms: int
) -> dict[str, int]:
    """Return which counters one commit moved."""
    before = collector.counts.copy()
    feed(collector, readings, steady_ms)
    moved = collector.counts - before
    return {name: n for name, n in moved.items() if name in FATES}


FATES = ("taken", "duplicate", "stale", "throttled", "crowded", "late")


@pytest.mark.spec("I6", "I11")
def test_windows_carry_first_instant_mean_and_number_of_their_readings(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    for t in range(23):
        feed(collector, [(1, t * 1_000 + 30, 7.0 + t / 100)], t * 1_000)
    (batch,) = contents(spool)
    assert isinstance(batch, Batch)
    assert (batch.observed_at_ms - START_MS).tolist() == [30]
    assert batch.samples.tolist() == [10]
    assert batch.values[0, Metric.PH] == pytest.approx(7.045)
    assert np.isnan(batch.values[0, Metric.TURBIDITY])
    spool.close()


def test_silent_sensors_window_is_sealed_by_steady_time(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    feed(collector, [(1, 0, 7.0), (1, 1_000, 7.0)], 0)
    feed(collector, [], 11_750)
    feed(collector, [], 12_000)
    assert rows_of(contents(spool)) == []
    feed(collector, [], 13_000)
    assert rows_of(contents(spool)) == [(1, 0, 2)]
    spool.close()


def test_unfinished_window_is_rebuilt_from_intake_after_a_restart(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    feed(collector_on(spool), [(1, 0, 7.0), (1, 3_000, 7.0)], 0)
    spool.close()
    spool = spool_at(tmp_path)
    collector = collector_on(spool, 5_000)
    assert rows_of(contents(spool)) == []
    feed(collector, [(1, 5_000, 7.0), (1, 3_000, 7.0)], 5_000)
    feed(collector, [(1, 13_000, 7.0)], 13_000)
    feed(collector, [], 14_500)
    assert rows_of(contents(spool)) == [(1, 0, 3)]
    spool.close()


def test_late_reading_goes_out_as_its_own_row_and_marked(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, batch_age_ms_max=0)
    feed(collector, [(1, 0, 7.0), (1, 5_000, 7.0), (1, 13_000, 7.0)], 13_000)
    assert rows_of(contents(spool)) == [(1, 0, 2)]
    assert fates(collector, [(1, 3_000, 7.0)], 14_000) == {"taken": 1, "late": 1}
    late = contents(spool)[-1]
    assert isinstance(late, Batch)
    assert rows_of([late]) == [(1, 3_000, 1)]
    assert late.quality.tolist() == [Quality.LATE]
    assert fates(collector, [(1, 3_000, 7.0), (1, 5_000, 7.0)], 15_000) == {"duplicate": 2}
    spool.close()


@pytest.mark.parametrize("restart", [False, True])
def test_memory_reaches_back_exactly_one_hour(tmp_path: Path, restart: bool) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    feed(collector, [(1, 0, 7.0), (1, 60_000, 7.0), (1, HOUR, 7.0)], 0)
    if restart:
        spool.close()
        spool = spool_at(tmp_path)
        collector = collector_on(spool, 1, window_ms=0, batch_age_ms_max=0)
    assert fates(collector, [(1, 0, 7.0)], 1) == {"duplicate": 1}
    assert fates(collector, [(1, -1, 7.0)], 2) == {"taken": 1}, "nothing forgotten lies beyond it"
    feed(collector, [(1, HOUR + 1, 7.0)], 3)
    assert fates(collector, [(1, 0, 7.0), (1, -1, 7.0), (1, -9, 7.0)], 4) == {"stale": 3}
    assert fates(collector, [(1, 1, 7.0)], 5) == {"taken": 1}
    assert fates(collector, [(1, 1, 7.0), (1, 60_000, 7.0)], 6) == {"duplicate": 2}
    spool.close()


def test_hub_that_was_off_for_a_day_takes_a_day_of_kept_readings_in_order(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0)
    feed(collector, [(1, 0, 7.0)], 0)
    day = [(1, t * 600_000, 7.0) for t in range(1, 145)]
    assert fates(collector, day, 86_400_000) == {"taken": 144}
    spool.close()


@pytest.mark.spec("I6")
def test_excess_is_throttled_on_observed_time_and_the_sensor_told(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    (told,) = feed(collector, [(1, t, 7.0) for t in (0, 1, 2, 3)], 0).statuses
    assert told[1].throttled
    assert told[1].committed_through_ms == START_MS + 3
    assert (collector.counts["taken"], collector.counts["throttled"]) == (2, 2)
    (told,) = feed(collector, [(1, 5_000, 7.0)], 1).statuses
    assert not told[1].throttled
    backlog = [(2, t * 1_000, 7.0) for t in range(500)]
    assert fates(collector, backlog, 2) == {"taken": 500}, "a backlog is not refused for its haste"
    spool.close()


def test_late_readings_fill_their_own_second_to_a_full_bucket_only(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0, batch_age_ms_max=0)
    feed(collector, [(1, 5_000, 7.0), (1, 60_000, 7.0)], 0)
    assert fates(collector, [(1, 5_100, 7.0), (1, 5_200, 7.0)], 1) == {"taken": 1, "throttled": 1}
    assert fates(collector, [(1, 9_000, 7.0), (1, 9_999, 7.0), (1, 9_500, 7.0)], 2) == {
        "taken": 2,
        "throttled": 1,
    }
    spool.close()


def test_bucket_is_not_refilled_by_a_restart(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    feed(collector_on(spool), [(1, 0, 7.0), (1, 1, 7.0)], 0)
    spool.close()
    spool = spool_at(tmp_path)
    assert fates(collector_on(spool, 1), [(1, 2, 7.0)], 1) == {"throttled": 1}
    spool.close()


def test_evidence_goes_at_once_with_the_rows_before_it_and_no_row_twice(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    for t in range(5):
        assert not feed(collector, [(1, t * 1_000, 7.0), (2, t * 1_000, 7.0)], t * 1_000).urgent
    assert collector.absorb(message([(1, 5_000, 9.0)]), at(5_000)), "due at once"
    assert collector.commit(at(5_000)).urgent
    assert feed(collector, [(1, 6_000, 9.0), (2, 6_000, 7.0)], 6_000).urgent
    evidence = [b for b in contents(spool) if b.seal.kind is Kind.EVIDENCE]
    assert [rows_of([b], Kind.EVIDENCE) for b in evidence] == [
        [(1, t * 1_000, 1) for t in range(6)],
        [(1, 6_000, 1)],
    ]
    feed(collector, [], 30_000)
    feed(collector, [], 31_000)
    assert rows_of(contents(spool)) == [(1, 0, 7), (2, 0, 6)], "the routine series has them too"
    spool.close()


def test_evidence_of_a_probe_that_stays_broken_is_rationed(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    urgent = sum(feed(collector, [(1, t * 1_000, 12.0)], t * 1_000).urgent for t in range(200))
    assert 60 <= urgent <= 60 + 20
    rows = rows_of(contents(spool), Kind.EVIDENCE)
    assert len(set(rows)) == len(rows)
    spool.close()


def test_readings_of_an_untrusted_clock_wait_and_are_then_dated(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, clock_trusted=False, batch_age_ms_max=0)
    for t in range(3):
        assert feed(collector, [(1, None, 7.0)], t * 1_000).statuses == ()
    feed(collector, [(2, 100, 7.0)], 3_000)
    assert len(spool.load().held) == 1, "a sensor with a clock of its own needs none of ours"
    spool.close()
    spool = spool_at(tmp_path)
    collector = collector_on(spool, 4_000, clock_trusted=False, batch_age_ms_max=0)
    collector.hear(START_MS + 5_000, at(5_000))
    assert collector.due_in_ms(at(5_000)) == 0
    feed(collector, [], 5_000)
    feed(collector, [], 20_000)
    assert rows_of(contents(spool)) == [(1, 0, 3), (2, 100, 1)]
    assert not any(b.quality.any() for b in contents(spool) if isinstance(b, Batch))
    spool.close()


def test_readings_from_before_a_reboot_are_dated_before_it_and_suspect(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, clock_trusted=False)
    for t in range(3):
        feed(collector, [(1, None, 7.0)], 500_000 + t * 1_000)
    spool.close()
    spool = spool_at(tmp_path)
    collector = collector_on(spool, 0, clock_trusted=False, boot="boot-2", window_ms=0)
    collector.hear(START_MS + 900, at(900))
    feed(collector, [], 900)
    held = spool.load().held
    assert sorted((held.observed_at_ms - START_MS).tolist()) == [-2_000, -1_000, 0]
    assert (held.quality & Quality.TIME_SUSPECT).all()
    spool.close()


def test_step_of_the_clock_marks_what_it_dated_and_moves_nothing(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    feed(collector, [(1, None, 7.0), (2, 500, 7.0)], 0)
    stepped = at(1_000)._replace(wall_ms=START_MS + 9_000_000)
    collector.absorb(message([(3, None, 7.0)]), stepped)
    collector.commit(stepped)
    held = spool.load().held
    found = {
        int(s): (int(t) - START_MS, int(q))
        for s, t, q in zip(held.sensor_ids, held.observed_at_ms, held.quality, strict=True)
    }
    assert found[1] == (0, Quality.TIME_SUSPECT)
    assert found[2] == (500, 0)
    assert found[3][1] == Quality.TIME_SUSPECT
    assert collector.counts["clock_steps"] == 1
    for later in (30_000, 31_000):
        collector.commit(at(later)._replace(wall_ms=START_MS + 9_000_000 + later - 1_000))
    sealed = {
        int(s): int(q)
        for b in contents(spool)
        if isinstance(b, Batch)
        for s, q in zip(b.sensor_ids, b.quality, strict=True)
    }
    assert sealed == {1: Quality.TIME_SUSPECT, 2: 0, 3: Quality.TIME_SUSPECT}
    spool.close()


def test_two_readings_without_time_in_one_message_are_two_readings(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool)
    assert fates(collector, [(1, None, 7.0), (1, None, 7.1)], 0) == {"taken": 2}
    spool.close()


def test_raw_mode_seals_whole_batches_by_size_and_the_rest_by_age(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, window_ms=0)
    feed(collector, [(s, 0, 7.0) for s in range(900)], 0)
    assert contents(spool) == []
    feed(collector, [(s, 1_000, 7.0) for s in range(900)], 100)
    assert [len(b) for b in contents(spool) if isinstance(b, Batch)] == [1_000]
    feed(collector, [], 1_100)
    assert [len(b) for b in contents(spool) if isinstance(b, Batch)] == [1_000]
    feed(collector, [], 2_200)
    assert sorted(len(b) for b in contents(spool) if isinstance(b, Batch)) == [800, 1_000]
    spool.close()


SENSOR = st.integers(1, 3)
TIMES = st.integers(0, 60).map(lambda t: t * 500)
COMMITS = st.lists(st.lists(st.tuples(SENSOR, TIMES), max_size=8), max_size=12)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(commits=COMMITS, window_ms=st.sampled_from([0, 5_000]), restarts=st.integers(0, 2**12 - 1))
def test_every_reading_taken_is_emitted_once_and_through_is_monotone_and_true(
    tmp_path_factory: pytest.TempPathFactory,
    commits: list[list[tuple[int, int]]],
    window_ms: int,
    restarts: int,
) -> None:
    folder = tmp_path_factory.mktemp("hub")
    spool = spool_at(folder)
    collector = collector_on(spool, window_ms=window_ms)
    sent: set[tuple[int, int]] = set()
    through = {sensor: -1 for sensor in (1, 2, 3)}
    taken = 0
    for turn, readings in enumerate(commits):
        now = turn * 3_000
        if restarts >> turn & 1:
            taken += collector.counts["taken"]
            spool.close()
            spool = spool_at(folder)
            collector = collector_on(spool, now, window_ms=window_ms)
        committed = feed(collector, [(s, t, 7.0) for s, t in readings], now)
        sent |= set(readings)
        assert {s for s, _ in committed.statuses} == {s for s, _ in readings}
        for sensor, status in committed.statuses:
            covered = status.committed_through_ms - START_MS
            assert covered == max(t for s, t in sent if s == sensor)
            assert covered >= through[sensor]
            through[sensor] = covered
    taken += collector.counts["taken"]
    for extra in (200_000, 300_000, 400_000):
        feed(collector, [], extra)
    rows = rows_of(contents(spool))
    assert len(spool.load().held) == 0
    assert sum(samples for *_, samples in rows) == taken <= len(sent)
    assert len({row[:2] for row in rows}) == len(rows)
    assert {row[:2] for row in rows} <= sent
    assert taken >= len({(s, t // 1_000) for s, t in sent}) * 2 // 3
    spool.close()
