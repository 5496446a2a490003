"""A queue filled beforehand, drained to committed rows, in turn with COPY of the same rows.

Whoever carries the queue is a ``Course``. Runs alternate and medians are compared; filling is not
timed, and what it costs is reported apart.
"""

import asyncio
from statistics import median
from typing import Final, NamedTuple, Protocol

from benchmarks.limit import FLUSHES, ROWS, Connection, Limit, bodies, copied, emptied
from benchmarks.report import tell
from headgate.stack.process import Program
from headgate.stack.stack import Stack

RUNS: Final = 3
WITHIN_S: Final = 600.0


class Course(Protocol):
    """What carries batches to ingest."""

    @property
    def stack(self) -> Stack:
        """Runs everything but the course itself."""
        ...

    def worker(self, number: int, workers: int) -> Program:
        """Return one of so many ingest workers."""
        ...

    async def fill(self, batches: int, workers: int) -> None:
        """Queue so many batches of ``ROWS`` while no worker runs."""
        ...

    async def settled(self, batches: int) -> None:
        """Return once nothing of what was filled and committed will be given out again."""
        ...


class Drain(NamedTuple):
    """One emptied queue.

    Attributes:
        rows_per_s: From the end of the first flush to the end of the last.
        cpu_s_per_million: Of each process while draining, a worker's from when it is connected.
        filling_s_per_million: Of each process while the queue was filled.
        flushes: How many transactions it took.
    """

    rows_per_s: float
    cpu_s_per_million: dict[str, float]
    filling_s_per_million: dict[str, float]
    flushes: int


class Contest(NamedTuple):
    """Runs of the limit, one worker and two workers, in turn."""

    limits: list[dict[int, Limit]]
    drains: dict[int, list[Drain]]

    @property
    def limit_rows_per_s(self) -> float:
        """Median over the runs, each with the better of its flush sizes."""
        return median(max(each.rows_per_s for each in run.values()) for run in self.limits)

    @property
    def limit_cpu_s(self) -> float:
        """CPU seconds a million rows of PostgreSQL alone, at the largest flush; median."""
        return median(run[max(run)].cpu_s_per_million for run in self.limits)

    def rows_per_s(self, workers: int) -> float:
        """Median over the runs."""
        return median(drain.rows_per_s for drain in self.drains[workers])

    def cpu_s(self, *names: str) -> float:
        """CPU seconds a million readings of these processes, one worker; median."""
        return median(
            sum(drain.cpu_s_per_million.get(name, 0.0) for name in names)
            for drain in self.drains[1]
        )

    def raw(self) -> dict[str, object]:
        """Return every run."""
        return {
            "limit": [{size: each._asdict() for size, each in run.items()} for run in self.limits],
            "drains": {
                workers: [drain._asdict() for drain in done]
                for workers, done in self.drains.items()
            },
        }


async def contest(course: Course, batches: int, runs: int = RUNS) -> Contest:
    """Run limit, one worker and two workers in turn, ``runs`` times."""
    limits: list[dict[int, Limit]] = []
    drains: dict[int, list[Drain]] = {1: [], 2: []}
    for turn in range(runs):
        limits.append(await limit(course.stack, batches))
        rates = ", ".join(f"{each.rows_per_s:,.0f} at {n:,}" for n, each in limits[-1].items())
        tell(f"run {turn}: COPY alone, rows/s by flush: {rates}")
        for workers, done in drains.items():
            done.append(await drain(course, workers, batches))
            tell(f"run {turn}: {workers} ingest: {done[-1].rows_per_s:,.0f} rows/s")
    return Contest(limits, drains)


async def limit(stack: Stack, batches: int) -> dict[int, Limit]:
    """Return what COPY alone reaches, by the size of a flush."""
    sealed = await asyncio.to_thread(bodies, batches)
    return {
        rows: await copied(
            stack.database_url, sealed, rows, lambda: stack.cpu_seconds()["postgres"]
        )
        for rows in FLUSHES
    }


async def drain(course: Course, workers: int, batches: int) -> Drain:
    """Fill the queue while no worker listens, then let it drain; check that each row is there."""
    async with emptied(course.stack.database_url) as connection:
        idle = course.stack.cpu_seconds()
        await course.fill(batches, workers)
        before = course.stack.cpu_seconds()
        ready, spent = await _worked(course, workers, connection, batches)
        await exactly_once(connection, batches)
        rows = batches * ROWS
        return Drain(
            await _speed(connection),
            per_million(ready | before, spent, rows),
            per_million(idle, before, rows),
            int(await connection.fetchval("select count(distinct stored_at) from batch_log")),
        )


def per_million(before: dict[str, float], after: dict[str, float], rows: int) -> dict[str, float]:
    """Return the CPU seconds a million rows of each process between two moments."""
    return {
        name: round((spent - before.get(name, 0.0)) * 1e6 / rows, 3)
        for name, spent in after.items()
    }


async def exactly_once(connection: Connection, batches: int, rows: int = ROWS) -> None:
    """Check that every batch is in the tables once, and that the ledger says so.

    Raises:
        AssertionError: It is not: what was measured is worth nothing.
    """
    found = await connection.fetchrow(
        "select (select count(*) from sensor_readings) as rows,"
        " (select count(*) from batch_log) as logged,"
        " (select count(distinct (hub_id, epoch, sequence)) from batch_log) as batches,"
        " (select sum(upper(r) - lower(r)) from hub_ledger, unnest(received) as r) as received"
    )
    wanted = (batches * rows, batches, batches, batches)
    assert found is not None
    assert tuple(map(int, found)) == wanted, f"stored {dict(found)} of {batches} batches"


async def committed(connection: Connection, batches: int, within_s: float = WITHIN_S) -> None:
    """Return once so many batches are in the log.

    Raises:
        TimeoutError: They are not in time.
    """
    counted = "select count(*) from batch_log"
    async with asyncio.timeout(within_s):
        while await connection.fetchval(counted) < batches:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def started(stack: Stack, programs: list[Program]) -> None:
    """Start programs that do not need each other."""
    async with asyncio.TaskGroup() as group:
        for program in programs:
            group.create_task(stack.start(program))


async def _worked(
    course: Course, workers: int, connection: Connection, batches: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Run workers until all is committed; return everybody's CPU seconds before and after."""
    programs = [course.worker(number, workers) for number in range(workers)]
    await started(course.stack, programs)
    ready = course.stack.cpu_seconds()
    await committed(connection, batches)
    spent = course.stack.cpu_seconds()
    await course.settled(batches)
    for program in programs:
        await course.stack.stop(program.name)
    return ready, spent


async def _speed(connection: Connection) -> float:
    row = await connection.fetchrow(
        "with flush as (select stored_at, sum(rows) as rows from batch_log group by stored_at)"
        " select (sum(rows) - (select rows from flush order by stored_at limit 1))"
        " / extract(epoch from max(stored_at) - min(stored_at)) as speed from flush"
    )
    assert row is not None
    return float(row["speed"])
