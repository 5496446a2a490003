"""How close does ingest come to what PostgreSQL can take?

The limit: binary COPY of the same rows, encoded beforehand, sorted by (sensor_id, timestamp) within
a flush, one connection, the same table and settings, the better of 10k and 100k rows a flush.
Ingest: a queue filled beforehand at the embedded broker, drained to committed rows with ledger,
log and receipts. Runs of both alternate; medians are compared. The generator's CPU is not counted.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg
import numpy as np

from benchmarks.report import Figure, Report, arguments, tell
from cloud.adapters.postgres.copy import READING_COLUMNS, stream
from cloud.core.rows import gather
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.sealed import Load, sealed
from headgate.stack.process import run_once
from headgate.stack.programs import command, environment, stage
from headgate.stack.stack import Stack
from wire.batch import Batch
from wire.codec import decode
from wire.ids import Epoch, HubId, Region

HUBS: Final = 16
ROWS: Final = 1_000
SENSORS: Final = 200
RUNS: Final = 3
FLUSHES: Final = (10_000, 100_000)
_WITHIN_S: Final = 300.0

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Drain(NamedTuple):
    """One emptied queue."""

    rows_per_s: float
    cpu_s_per_million: dict[str, float]
    flushes: int


async def measure(batches: int) -> Report:
    """Run limit, one worker and two workers in turn, ``RUNS`` times."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=(), any_ports=True) as stack:
            await enrol(stack)
            limits: list[dict[int, float]] = []
            drains: dict[int, list[Drain]] = {1: [], 2: []}
            for turn in range(RUNS):
                limits.append({rows: await _limit(stack, batches, rows) for rows in FLUSHES})
                tell(f"run {turn}: COPY alone {_rates(limits[-1])}")
                for workers, done in drains.items():
                    done.append(await drain(stack, workers, batches))
                    tell(f"run {turn}: {workers} ingest {done[-1].rows_per_s:,.0f} rows/s")
    return _report(batches, limits, drains)


def _report(batches: int, limits: list[dict[int, float]], drains: dict[int, list[Drain]]) -> Report:
    limit = median(max(rates.values()) for rates in limits)
    one, two = (median(drain.rows_per_s for drain in drains[workers]) for workers in (1, 2))
    cost = median(sum(drain.cpu_s_per_million.values()) for drain in drains[1])
    return Report(
        "ingest",
        [
            Figure("share of the COPY limit, one worker", 0.70, one / limit, ">="),
            Figure("two workers against one", 1.3, two / one, ">="),
            Figure("CPU seconds a million readings (broker, ingest, PostgreSQL)", 8, cost, "<="),
        ],
        {
            "rows": batches * ROWS,
            "limit_rows_per_s": [{k: round(v) for k, v in rates.items()} for rates in limits],
            "rows_per_s": {k: [round(d.rows_per_s) for d in done] for k, done in drains.items()},
            "cpu_s_per_million": [d.cpu_s_per_million for d in drains[1]],
            "flushes": [d.flushes for d in drains[1]],
        },
    )


async def enrol(stack: Stack) -> None:
    """Give every virtual hub an identity at the broker."""
    for hub in range(HUBS):
        await stack.enrol_hub(f"bench-{hub}", "north")


def virtual_hubs(stack: Stack) -> list[str]:
    """Return who floods, and with what, as words of ``firmware_sim batches``."""
    options = {
        "--broker": f"mqtt://bench@127.0.0.1:{stack.ports.mqtt}",
        "--token-file": str(stack.home.hubs / "{hub}" / "{hub}.token"),
        "--hubs": str(HUBS),
        "--rows": str(ROWS),
        "--sensors": str(SENSORS),
    }
    return [word for pair in options.items() for word in pair]


async def _limit(stack: Stack, batches: int, flush_rows: int) -> float:
    """Return rows a second of COPY alone."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        encoded, rows = await _encoded(batches, flush_rows), batches * ROWS
        await _emptied(connection)
        start = time.perf_counter()
        for body in encoded:
            async with connection.transaction():
                await connection.copy_to_table(
                    "sensor_readings",
                    source=_once(body),
                    columns=READING_COLUMNS,
                    format="binary",
                )
        return rows / (time.perf_counter() - start)
    finally:
        await _emptied(connection)
        await connection.close()


async def _encoded(batches: int, flush_rows: int) -> list[bytes]:
    """Return the rows the generator makes, in its order, as ready COPY streams."""
    opened = _opened(batches)
    per_flush = flush_rows // ROWS
    streams = []
    for first in range(0, batches, per_flush):
        rows = gather(opened[first : first + per_flush])
        ordered = rows.take(np.lexsort((rows.observed_at_ms, rows.sensor_ids)))
        streams.append(b"".join([chunk async for chunk in stream(ordered)]))
    return streams


def _opened(batches: int) -> list[Batch]:
    load_seconds = ROWS // SENSORS * -(-batches // HUBS)
    start_ms = time.time_ns() // 1_000_000 - load_seconds * 1_000
    load = Load(SENSORS, ROWS, 4, 1_000_000, start_ms)
    water = Water(PROFILES[ProfileName.DRINKING], 1)
    by_hub = [
        sealed(load, water, (hub, HubId(f"bench-{hub}"), Region("north")), Epoch(hub), share)
        for hub in range(HUBS)
        if (share := len(range(hub, batches, HUBS)))
    ]
    bodies = [hub[turn] for turn in range(len(by_hub[0])) for hub in by_hub if turn < len(hub)]
    opened = [decode(body) for body in bodies]
    return [batch for batch in opened if isinstance(batch, Batch)]


async def _once(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 1 << 18):
        yield body[at : at + (1 << 18)]


async def drain(stack: Stack, workers: int, batches: int) -> Drain:
    """Fill the broker's queues while no worker listens, then let them drain."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        await _emptied(connection)
        await _with_workers(stack, workers, None)  # makes their sessions at the broker
        await _fill(stack, batches)
        before = stack.cpu_seconds()
        spent = await _with_workers(stack, workers, (connection, batches))
        cost = {
            name: round((after - before.get(name, 0.0)) * 1e6 / (batches * ROWS), 2)
            for name, after in spent.items()
        }
        return Drain(await _speed(connection), cost, await _flushes(connection))
    finally:
        await _emptied(connection)
        await connection.close()


async def _with_workers(
    stack: Stack, workers: int, until: tuple[Connection, int] | None
) -> dict[str, float]:
    """Run ingest workers until all is committed; return everybody's CPU seconds at that moment."""
    programs = [
        stage("ingest", stack.home, stack.ports, stack.database_url, f"{worker}/{workers}")
        for worker in range(workers)
    ]
    async with asyncio.TaskGroup() as group:
        for program in programs:
            group.create_task(stack.start(program))
    if until is not None:
        connection, batches = until
        async with asyncio.timeout(_WITHIN_S):
            await _committed(connection, batches)
    spent = stack.cpu_seconds()
    for program in programs:
        await stack.stop(program.name)
    return spent


async def _committed(connection: Connection, batches: int) -> None:
    counted = "select count(*) from batch_log"
    while await connection.fetchval(counted) < batches:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _fill(stack: Stack, batches: int) -> None:
    told = await run_once(
        command("firmware_sim", "batches", *virtual_hubs(stack), "--batches", str(batches)),
        environment(stack.home),
        within_s=_WITHIN_S,
    )
    published = json.loads(told.strip().splitlines()[-1])["published"]
    assert published == batches, f"only {published} of {batches} batches were published"


async def _speed(connection: Connection) -> float:
    """Return rows a second from the end of the first flush to the end of the last."""
    row = await connection.fetchrow(
        "with flush as (select stored_at, sum(rows) as rows from batch_log group by stored_at)"
        " select (sum(rows) - (select rows from flush order by stored_at limit 1))"
        " / extract(epoch from max(stored_at) - min(stored_at)) as speed from flush"
    )
    assert row is not None
    return float(row["speed"])


async def _flushes(connection: Connection) -> int:
    return int(await connection.fetchval("select count(distinct stored_at) from batch_log"))


async def _emptied(connection: Connection) -> None:
    await connection.execute(
        "truncate sensor_readings, evidence_readings, batch_log, hub_ledger, refused_readings,"
        " reading_conflicts, dead_letters"
    )
    await connection.execute("select ensure_month(now()), ensure_month(now() - interval '1 day')")
    await connection.execute("checkpoint")


def _rates(rates: dict[int, float]) -> str:
    return ", ".join(f"{rate:,.0f} rows/s at {rows:,} a flush" for rows, rate in rates.items())


def main() -> int:
    """Measure and report."""
    options = arguments("ingest", __doc__ or "")
    report = asyncio.run(measure(600 if options.quick else 6_000))
    return report.show(as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
