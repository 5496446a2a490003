"""How close does ingest come to what PostgreSQL can take?

The limit: binary COPY of the same rows, encoded beforehand, sorted by (sensor_id, timestamp) within
a flush, one connection, the same table and settings, the better of 10k and 100k rows a flush.
Ingest: a queue filled beforehand at the embedded broker, drained to committed rows with ledger,
log and receipts. Runs of both alternate; medians are compared. The generator's CPU is not counted.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.drain import WITHIN_S, Contest, contest, started
from benchmarks.limit import HUBS, ROWS, SENSORS
from benchmarks.report import Figure, Report, arguments, run
from headgate.stack.process import Program, run_once
from headgate.stack.programs import command, environment, stage
from headgate.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embedded broker as a course."""

    stack: Stack

    def worker(self, number: int, workers: int) -> Program:
        """See ``Course``."""
        stack = self.stack
        return stage("ingest", stack.home, stack.ports, stack.database_url, f"{number}/{workers}")

    async def fill(self, batches: int, workers: int) -> None:
        """See ``Course``. Workers come and go first: that makes their sessions at the broker."""
        programs = [self.worker(number, workers) for number in range(workers)]
        await started(self.stack, programs)
        for program in programs:
            await self.stack.stop(program.name)
        told = await run_once(
            command(
                "firmware_sim", "batches", *virtual_hubs(self.stack), "--batches", str(batches)
            ),
            environment(self.stack.home),
            within_s=WITHIN_S,
        )
        published = json.loads(told.strip().splitlines()[-1])["published"]
        assert published == batches, f"only {published} of {batches} batches were published"

    async def settled(self, batches: int) -> None:
        """See ``Course``. It gives nothing out twice."""


async def measure(batches: int) -> Report:
    """Run limit, one worker and two workers in turn."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=(), any_ports=True) as stack:
            await enrol(stack)
            return _report(batches, await contest(Embedded(stack), batches))


def _report(batches: int, done: Contest) -> Report:
    share = done.rows_per_s(1) / done.limit_rows_per_s
    cost = done.cpu_s("gateway", "ingest", "postgres")
    return Report(
        "ingest",
        [
            Figure("share of the COPY limit, one worker", 0.70, share, ">="),
            Figure("two workers against one", 1.3, done.rows_per_s(2) / done.rows_per_s(1), ">="),
            Figure("CPU seconds a million readings (broker, ingest, PostgreSQL)", 8, cost, "<="),
        ],
        {"rows": batches * ROWS, **done.raw()},
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


def main() -> int:
    """Measure and report."""
    options = arguments("ingest", __doc__ or "")
    report = run(measure(600 if options.quick else 6_000))
    return report.show(as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
