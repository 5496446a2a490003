"""How close does ingest at RabbitMQ come to what PostgreSQL can take, and what does it cost?

One node, certificates and topology as shipped. The quorum queue ``ingest`` is filled beforehand
with batches of 1,000 readings and drained over AMQPS to committed rows with ledger, log and
receipts, each counted; in turn with COPY of the same rows (``benchmarks.limit``). Medians of the
runs are compared. ``--profile`` drains once more under ``cProfile``, apart from what is measured.
"""

import pstats
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.drain import RUNS, Contest, committed, contest, exactly_once
from benchmarks.limit import ROWS, emptied
from benchmarks.rabbit import NODE, Rabbit, rabbit
from benchmarks.report import Figure, Report, options_of, run, tell
from headgate.stack.stack import Stack

_LINES: Final = 25


async def measure(batches: int, runs: int, *, profile: bool) -> Report:
    """Run limit, one worker and two workers in turn."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=(), any_ports=True) as stack, rabbit(stack) as course:
            done = await contest(course, batches, runs)
            lines = await profiled(course, batches // 2) if profile else []
    return _report(batches, done, lines)


def _report(batches: int, done: Contest, profile: list[str]) -> Report:
    share = done.rows_per_s(1) / done.limit_rows_per_s
    cost = done.cpu_s("ingest", "postgres")
    costs = {name: round(done.cpu_s(name), 3) for name in ("ingest", "postgres", NODE)}
    tell(f"CPU seconds a million readings: {costs}; COPY alone {done.limit_cpu_s:.2f}")
    for line in profile:
        tell(line)
    return Report(
        "cluster",
        figures(share, done.rows_per_s(2) / done.rows_per_s(1), cost),
        {
            "rows": batches * ROWS,
            "cpu_s_per_million": costs,
            "limit_cpu_s_per_million": round(done.limit_cpu_s, 3),
            "profile": profile,
            **done.raw(),
        },
    )


def figures(share: float, two: float, cost_s: float) -> list[Figure]:
    """Return targets and measured."""
    return [
        Figure("share of the COPY limit, one worker", 0.80, share, ">="),
        Figure("two workers against one", 1.4, two, ">="),
        Figure("CPU seconds a million readings (ingest, PostgreSQL)", 4, cost_s, "<="),
    ]


async def profiled(course: Rabbit, batches: int) -> list[str]:
    """Return where an ingest worker's CPU goes, by function, its start included."""
    path = course.stack.home.root / "ingest.prof"
    async with emptied(course.stack.database_url) as connection:
        await course.fill(batches, 1)
        await course.stack.start(course.profiled(path))
        await committed(connection, batches)
        await course.settled(batches)
        await course.stack.stop("ingest")
        await exactly_once(connection, batches)
    return _hottest(path)


def _hottest(path: Path) -> list[str]:
    found = pstats.Stats(str(path))
    timed = found.stats.items()  # type: ignore[attr-defined]  # not in the stubs
    by_own_time = sorted(timed, key=lambda each: -each[1][2])
    whole = sum(each[1][2] for each in by_own_time)
    return [
        f"{100 * own / whole:5.1f} %  {calls:>9,} calls  {Path(file).name}:{line} {name}"
        for (file, line, name), (_, calls, own, _, _) in by_own_time[:_LINES]
    ]


def main() -> int:
    """Measure and report."""
    parser = options_of("cluster", __doc__ or "")
    parser.add_argument("--profile", action="store_true", help="say where ingest's CPU goes")
    asked = parser.parse_args()
    batches, runs = (600, 1) if asked.quick else (6_000, RUNS)
    return run(measure(batches, runs, profile=asked.profile)).show(as_json=asked.json)


if __name__ == "__main__":
    raise SystemExit(main())
