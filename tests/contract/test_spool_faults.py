"""A disk that fails under the agent, whoever meets the fault, and answers that are lost."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edge_agent.ports import SpoolFaultError
from tests.support.hub import (
    START_MS,
    at,
    collector_on,
    contents,
    feed,
    message,
    rows_of,
    spool_at,
)


class Failing(sqlite3.Connection):
    """Fails every statement while ``broken``; ``deaf`` loses the answer of the next commit."""

    broken = deaf = False

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        if Failing.broken:
            raise sqlite3.OperationalError("disk I/O error")
        cursor = super().execute(sql, values)
        if Failing.deaf and sql == "commit":
            Failing.deaf = False
            raise sqlite3.OperationalError("disk I/O error")
        return cursor


def failing(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, factory=Failing)


def test_a_fault_met_on_the_way_up_is_mended_though_no_sensor_speaks(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, connect=failing)
    collector = collector_on(spool)
    Failing.broken = True
    with pytest.raises(SpoolFaultError):
        spool.held()
    Failing.broken = False
    with pytest.raises(SpoolFaultError):
        collector.commit(at(1_000))
    collector.recover(at(2_000))
    assert len(spool.held()) == 1


def test_a_date_given_by_the_hub_never_moves_though_the_answer_is_lost(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, connect=failing)
    collector = collector_on(spool, clock_trusted=False, window_ms=0)
    collector.absorb(message([(7, None, 7.0)]), at(500))
    collector.hear(START_MS + 600, at(600))
    Failing.deaf = True
    with pytest.raises(SpoolFaultError):
        collector.commit(at(1_000))
    collector.hear(START_MS + 1_101, at(1_100))  # a quicker receipt: the hub was a little behind
    collector.recover(at(1_200))
    for ms in (1_300, 5_000, 9_000):
        collector.commit(at(ms))
    assert rows_of(contents(spool)) == [(7, 500, 1)]


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
