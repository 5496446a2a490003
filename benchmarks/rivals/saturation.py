"""One pipeline kept full for a while: rows a second, what each process cost, what never came.

Sensors may be ahead of the table by a few seconds' worth, no more: the pipeline never starves, and
no queue grows until it is all the machine does. Rows and CPU are read at both ends of the same
span; afterwards everything sent must arrive.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg

from benchmarks.limit import Connection
from benchmarks.rivals.contenders import HUB, Contender, Way
from benchmarks.rivals.installed import CHECKOUT
from headgate.stack.stack import Stack
from headgate.stack.usage import cpu_seconds

AHEAD_MIN: Final = 10_000
AHEAD_S: Final = 5.0
FIRST_WITHIN_S: Final = 60.0
WARM_S: Final = 8.0
POLL_S: Final = 0.25
SETTLED_WITHIN_S: Final = 120.0
_SEEN_MAX: Final = 16
_GENERATOR: Final = "sensors"
_BOOKKEEPING: Final = frozenset({"gateway", "epmd", _GENERATOR})
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Saturation:
    """What one pipeline reached.

    Attributes:
        rows_per_s: Committed rows.
        cpu_s_per_million: Of each of its processes, a million rows.
        sensors_cpu_s_per_million: Of the simulated sensors; not counted.
        hub_threads: Where the hub's part goes: ``listening`` (the loop) and ``committing`` (the
            spool's thread); empty for rivals.
        acknowledged: Readings the next hop said it took.
        unstored: How many of those are in no row two minutes later, lost or still under way.
    """

    rows_per_s: float
    cpu_s_per_million: dict[str, float]
    sensors_cpu_s_per_million: float
    hub_threads: dict[str, float]
    acknowledged: int
    unstored: int

    @property
    def cpu_s(self) -> float:
        """CPU seconds a million rows of the whole pipeline."""
        return sum(self.cpu_s_per_million.values())


@dataclass(slots=True)
class Sensors:
    """The process that plays all sensors.

    Attributes:
        process: It.
        sent: How many readings it has sent.
        acknowledged: How many of them the next hop took.
        seen: When how many rows were stored, of late.
    """

    process: Process
    sent: int = 0
    acknowledged: int = 0
    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SEEN_MAX))

    async def allow(self, readings: int) -> None:
        """Let so many be sent in all, and hear how many were.

        Raises:
            RuntimeError: It has ended: the pipeline refused something.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"%d\n" % readings)
        answer = await self.process.stdout.readline()
        if not answer:
            raise RuntimeError("the sensors were refused")
        self.sent, self.acknowledged = map(int, answer.split())


async def saturated(contender: Contender, seconds: float) -> Saturation:
    """Start a pipeline, keep it full, and see everything sent arrive."""
    prefix = "headgate-bench-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=contender.stages, any_ports=True) as stack:
            way = await contender.start(stack)
            connection = await asyncpg.connect(stack.database_url)
            try:
                async with _sensors(way) as sensors:
                    return await _measured(stack, contender, sensors, connection, seconds)
            finally:
                await connection.close()


async def _measured(
    stack: Stack, contender: Contender, sensors: Sensors, connection: Connection, seconds: float
) -> Saturation:
    pids = stack.processes | {_GENERATOR: sensors.process.pid}
    await _flowing(sensors, connection, contender.table)
    await _kept_full(sensors, connection, contender.table, WARM_S)
    rows, spent, threads = await _rows(connection, contender), cpu_seconds(pids), _threads(pids)
    began = time.perf_counter()
    await _kept_full(sensors, connection, contender.table, seconds)
    took_s = time.perf_counter() - began
    rows, before = await _rows(connection, contender) - rows, spent
    spent, ended = cpu_seconds(pids), _threads(pids)
    costs = {name: (spent[name] - before[name]) * 1e6 / max(1, rows) for name in pids}
    kept = await _settled(sensors, connection, contender)
    ours = _BOOKKEEPING - {"gateway"} if contender.stages else _BOOKKEEPING
    return Saturation(
        rows / took_s,
        {name: round(cost, 1) for name, cost in costs.items() if name not in ours},
        round(costs[_GENERATOR], 1),
        {name: round((ended[name] - threads[name]) * 1e6 / max(1, rows), 1) for name in threads},
        sensors.acknowledged,
        sensors.acknowledged - kept,
    )


async def _flowing(sensors: Sensors, connection: Connection, table: str) -> None:
    """Let sensors send until rows have begun to come."""
    async with asyncio.timeout(FIRST_WITHIN_S):
        while not await _inserted(connection, table):
            await sensors.allow(AHEAD_MIN)
            await asyncio.sleep(POLL_S)


async def _kept_full(sensors: Sensors, connection: Connection, table: str, seconds: float) -> None:
    """Let sensors send, so many seconds' worth ahead of the table."""
    until = time.perf_counter() + seconds
    while (now := time.perf_counter()) < until:
        stored = await _inserted(connection, table)
        sensors.seen.append((now, stored))
        await sensors.allow(stored + ahead(sensors.seen))
        await asyncio.sleep(POLL_S)


def ahead(seen: Sequence[tuple[float, int]]) -> int:
    """Return how far sensors may be ahead of the table.

    Args:
        seen: Moments, seconds, and the rows that were stored then; oldest first.
    """
    (began, first), (ended, last) = seen[0], seen[-1]
    return max(AHEAD_MIN, int(AHEAD_S * (last - first) / max(1.0, ended - began)))


async def _settled(sensors: Sensors, connection: Connection, contender: Contender) -> int:
    """Return the rows once they cover what was acknowledged, or no more come."""
    deadline = time.perf_counter() + SETTLED_WITHIN_S
    while True:
        await sensors.allow(0)
        rows = await _rows(connection, contender)
        if sensors.sent == sensors.acknowledged == rows or time.perf_counter() > deadline:
            return rows
        await asyncio.sleep(1)


async def _inserted(connection: Connection, table: str) -> int:
    """Return about how many rows there are, for next to nothing; up to a second late."""
    return int(
        await connection.fetchval(
            "select coalesce(sum(n_tup_ins), 0) from pg_stat_user_tables where relname like $1",
            f"{table}%",
        )
    )


async def _rows(connection: Connection, contender: Contender) -> int:
    return int(await connection.fetchval(f"select count(*) from {contender.table}"))


def _threads(pids: dict[str, int]) -> dict[str, float]:
    """Return the CPU seconds of the hub's loop, and of all its other threads."""
    if HUB not in pids:
        return {}
    spent = {"listening": 0.0, "committing": 0.0}
    for task in Path(f"/proc/{pids[HUB]}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        name = "listening" if task.name == str(pids[HUB]) else "committing"
        spent[name] += sum(map(int, fields[11:13])) / _TICKS_PER_S
    return spent


@asynccontextmanager
async def _sensors(way: Way) -> AsyncIterator[Sensors]:
    argv = (sys.executable, "-m", "benchmarks.rivals.sensors", way.kind, str(way.port))
    process = await asyncio.create_subprocess_exec(*argv, cwd=CHECKOUT, stdin=PIPE, stdout=PIPE)
    try:
        yield Sensors(process)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(10):
            told, _ = await process.communicate()
        json.loads(told.splitlines()[-1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
