"""Does a reading cost more as the platform grows: from 10 hubs to 1,000, from 1M rows to 50M?

CPU of ingest and PostgreSQL for a million readings, batches taken from RabbitMQ's quorum queue. By
hubs: the same number of readings each time, 200 sensors a hub, into empty tables. By rows: one
hundred hubs fill the store while one worker runs; each time it holds so many rows, the next
million is measured. What PostgreSQL does in the background meanwhile counts. By batches: smaller
ones, as hubs with few readings a second seal them; they have no target, docs/scale.md counts on
them.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.drain import committed, exactly_once, per_million
from benchmarks.limit import ROWS, Connection, bodies, emptied
from benchmarks.rabbit import NODE, Rabbit, rabbit
from benchmarks.report import Figure, Report, options_of, run, tell
from headgate.stack.stack import Stack

BY_HUBS: Final = (10, 30, 100, 300, 1_000)
BY_BATCH: Final = (1_000, 200, 20)
BATCHES_MAX: Final = 5_000
BY_MILLIONS: Final = (1, 2, 5, 10)
BY_MILLIONS_FULL: Final = (*BY_MILLIONS, 20, 50)
HUBS: Final = 100
SPREAD_MAX: Final = 1.25


class Room(NamedTuple):
    """What a row takes on disk.

    Attributes:
        rows: Over how many.
        table_bytes: Of a row, in ``sensor_readings`` itself.
        index_bytes: Of a row, in its primary key.
        log_bytes: Of a batch, in ``batch_log`` with its indexes.
        wal_bytes: Of a row, written ahead; full page images included.
        wire_bytes: Of a reading, in the batches that came.
    """

    rows: int
    table_bytes: float
    index_bytes: float
    log_bytes: float
    wal_bytes: float
    wire_bytes: float


class Cost(NamedTuple):
    """CPU seconds a million readings.

    Attributes:
        ingest: Of the worker.
        postgres: Of PostgreSQL, its background included.
        broker: Of RabbitMQ, taking and giving.
    """

    ingest: float
    postgres: float
    broker: float

    @property
    def counted(self) -> float:
        """What the target is about."""
        return self.ingest + self.postgres


async def measure(hub_batches: int, batches_a_step: int, levels: tuple[int, ...]) -> Report:
    """Measure by hubs, then by rows.

    Args:
        hub_batches: Sent at each number of hubs.
        batches_a_step: What stands for a million readings: 1,000.
        levels: How many such steps the store holds when the next is measured.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=(), any_ports=True) as stack, rabbit(stack) as course:
            by_hubs = {hubs: await _by_hubs(course, hubs, hub_batches) for hubs in BY_HUBS}
            by_batch = {rows: await _by_batch(course, rows, hub_batches) for rows in BY_BATCH}
            by_rows, room = await _by_rows(course, batches_a_step, levels)
    curves = {"hubs": by_hubs, "rows stored": by_rows, "a batch": by_batch}
    for line in (*(each for name, curve in curves.items() for each in table(name, curve)), room):
        tell(f"{line}")
    return Report(
        "growth",
        figures(by_hubs, by_rows),
        {
            "by_hubs": {hubs: cost._asdict() for hubs, cost in by_hubs.items()},
            "by_rows_stored": {rows: cost._asdict() for rows, cost in by_rows.items()},
            "by_rows_a_batch": {rows: cost._asdict() for rows, cost in by_batch.items()},
            "room": room._asdict(),
        },
    )


def figures(by_hubs: Mapping[int, Cost], by_rows: Mapping[int, Cost]) -> list[Figure]:
    """Return targets and measured: the dearest against the cheapest."""
    return [
        Figure(f"dearest against cheapest, {_ends(costs)} {what}", SPREAD_MAX, spread(costs), "<=")
        for what, costs in (("hubs", by_hubs), ("rows stored", by_rows))
    ]


def spread(costs: Mapping[int, Cost]) -> float | None:
    """Return the dearest as a multiple of the cheapest; None if there is nothing to compare."""
    counted = [cost.counted for cost in costs.values()]
    return max(counted) / min(counted) if len(counted) > 1 and min(counted) > 0 else None


def table(what: str, costs: Mapping[int, Cost]) -> list[str]:
    """Return the curve for people, CPU seconds a million readings."""
    head = f"{what:>12}  {'ingest':>7} {'postgres':>8} {'sum':>6}  {'broker':>6}"
    return [head] + [
        f"{at:>12,}  {c.ingest:7.2f} {c.postgres:8.2f} {c.counted:6.2f}  {c.broker:6.2f}"
        for at, c in costs.items()
    ]


def _ends(costs: Mapping[int, Cost]) -> str:
    return f"{min(costs):,} to {max(costs):,}" if costs else "no"


async def _by_hubs(course: Rabbit, hubs: int, batches: int) -> Cost:
    sealed = await asyncio.to_thread(bodies, batches, hubs)
    async with _worker(course, batches) as connection:
        cost = await _stored(course, connection, sealed, 0)
    tell(f"{hubs:,} hubs: {cost.counted:.2f} CPU-s a million readings")
    return cost


async def _by_batch(course: Rabbit, rows: int, full_batches: int) -> Cost:
    batches = min(BATCHES_MAX, full_batches * ROWS // rows)
    sealed = await asyncio.to_thread(bodies, batches, HUBS, None, rows)
    async with _worker(course, batches, rows) as connection:
        cost = await _stored(course, connection, sealed, 0, rows)
    tell(f"{rows:,} readings a batch: {cost.counted:.2f} CPU-s a million readings")
    return cost


async def _by_rows(
    course: Rabbit, step: int, levels: tuple[int, ...]
) -> tuple[dict[int, Cost], Room]:
    sealed = await asyncio.to_thread(bodies, step * (levels[-1] + 1), HUBS)
    costs: dict[int, Cost] = {}
    async with _worker(course, len(sealed)) as connection:
        wal = await connection.fetchval("select pg_current_wal_lsn()")
        for held in range(levels[-1] + 1):
            cost = await _stored(course, connection, sealed[held * step :][:step], held * step)
            if held in levels:
                costs[held * step * ROWS] = cost
                tell(f"{held * step * ROWS:,} rows stored: {cost.counted:.2f} CPU-s a million")
        room = await _room(connection, wal, sealed)
    return costs, room


async def _room(connection: Connection, wal: str, sealed: list[bytes]) -> Room:
    """Return what the rows of these batches, the only ones there are, take.

    Args:
        connection: To the store.
        wal: Where its log stood before the first.
        sealed: The batches, as they came.
    """
    rows = len(sealed) * ROWS
    found = await connection.fetchrow(
        "select sum(pg_table_size(oid)) filter (where relname like 'sensor_readings%') as rows,"
        " sum(pg_indexes_size(oid)) filter (where relname like 'sensor_readings%') as keys,"
        " sum(pg_total_relation_size(oid)) filter (where relname like 'batch_log%') as log,"
        " pg_wal_lsn_diff(pg_current_wal_lsn(), $1) as wal"
        " from pg_class where relkind = 'r'",
        wal,
    )
    assert found is not None
    taken = [float(found[name]) for name in ("rows", "keys", "log", "wal")]
    each = [taken[0] / rows, taken[1] / rows, taken[2] / len(sealed), taken[3] / rows]
    wire = sum(map(len, sealed)) / rows
    return Room(rows, *(round(value, 1) for value in (*each, wire)))


@asynccontextmanager
async def _worker(course: Rabbit, batches: int, rows: int = ROWS) -> AsyncIterator[Connection]:
    """Let one worker fill an empty store; at the end so many batches must be there, each once."""
    course.received.clear()
    async with emptied(course.stack.database_url) as connection:
        await course.stack.start(course.worker(0, 1))
        yield connection
        await course.settled(batches)
        await course.stack.stop("ingest")
        await exactly_once(connection, batches, rows)


async def _stored(
    course: Rabbit, connection: Connection, batches: list[bytes], before: int, rows: int = ROWS
) -> Cost:
    """Send batches, ``before`` others being stored already; return what that cost."""
    idle = course.stack.cpu_seconds()
    await course.publish(batches)
    await committed(connection, before + len(batches))
    spent = per_million(idle, course.stack.cpu_seconds(), len(batches) * rows)
    return Cost(spent["ingest"], spent["postgres"], spent[NODE])


def main() -> int:
    """Measure and report."""
    parser = options_of("growth", __doc__ or "")
    parser.add_argument("--full", action="store_true", help="to 50M rows, not 10M")
    asked = parser.parse_args()
    levels = BY_MILLIONS_FULL if asked.full else BY_MILLIONS
    work = (1_000, 100, levels) if asked.quick else (3_000, 1_000, levels)
    return run(measure(*work)).show(as_json=asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
