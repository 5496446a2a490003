"""From a reading accepted to its alert committed, on a real PostgreSQL; two workers together."""

import asyncio
import json
import sys
import time

import asyncpg
import numpy as np
import pytest

from cloud.adapters.postgres.alert import AlertTables
from cloud.adapters.postgres.detect import DetectTables
from cloud.adapters.postgres.pool import pool
from cloud.alert.service import Alerts
from cloud.detect.service import Detect
from tests.support.detect import Woken, lent, ph_batch
from tests.support.wait import until
from wire.batch import Kind
from wire.clock import SystemClock
from wire.topics import Channel

HIGH = 9.31


@pytest.mark.spec("Q1")
async def test_a_contamination_reaches_a_listener_once_and_how_fast(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[dict[str, object]] = []
    took_ms: list[float] = []
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("alerts", lambda *args: heard.append(json.loads(str(args[3]))))
    try:
        async with pool(database_url) as opened:
            clock = SystemClock()
            detect = Detect(DetectTables(opened), Woken(), clock, lambda _: True)
            alerts = Alerts(AlertTables(opened), clock)
            for n in range(30):
                batch = ph_batch(n, [HIGH, HIGH], sensor=1000 + n, kind=Kind.EVIDENCE)
                delivery, began = lent(batch, Channel.URGENT), time.perf_counter()
                await detect.take([delivery])
                await alerts.settle()
                await until(lambda n=n: len(heard) == n + 1)  # type: ignore[misc]
                took_ms.append((time.perf_counter() - began) * 1_000)
            rows = await opened.fetch("select * from contamination_alerts")
    finally:
        await listener.close()
    assert [word["change"] for word in heard] == ["opened"] * 30
    assert {row["alert_id"] for row in rows} == {word["alert_id"] for word in heard}
    p50, p99 = np.percentile(took_ms, [50, 99])
    with capsys.disabled():
        sys.stdout.write(f"\naccepted -> alert heard: p50 {p50:.1f} ms, p99 {p99:.1f} ms, n 30\n")


async def test_two_alert_workers_settle_every_finding_once_and_in_order(database_url: str) -> None:
    async with pool(database_url, connections_max=6) as opened:
        clock = SystemClock()
        detect = Detect(DetectTables(opened), Woken(), clock, lambda _: True)
        workers = [Alerts(AlertTables(opened), clock) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                for _ in range(20):
                    group.create_task(worker.settle())
            for n in range(40):  # each batch breaches and recovers
                values = [HIGH, HIGH, 7.0, 7.0]
                await detect.take([lent(ph_batch(n, values, start=10 * n))])
        await workers[0].settle_all()
        alerts = await opened.fetch("select resolved, findings from contamination_alerts")
        left = await opened.fetchval("select count(*) from findings where settled_at is null")
    assert [tuple(row) for row in alerts] == [(True, 2)] * 40
    assert left == 0
