"""What does a hub cost, and how many readings a second does it make durable?

Cost: an agent with the embedded listener, 200 sensors on 200 connections at 1 Hz, windows of 10 s,
real broker and ingest above it; its CPU over the run and the peak of its resident memory.
Durable intake: the same agent under a flood, one reading a message, until told committed.
"""

import asyncio
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Figure, Report, arguments, run, tell
from headgate.stack.network import free_port
from headgate.stack.process import run_once
from headgate.stack.programs import command, environment
from headgate.stack.stack import Stack

SENSORS: Final = 200
FLOOD_PER_S: Final = 12_000
_WITHIN_S: Final = 300.0


async def measure(seconds: int) -> Report:
    """Run the calm hub, then the flooded one."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-", ignore_cleanup_errors=True) as home:
        async with Stack(Path(home), stages=("ingest",), any_ports=True) as stack:
            calm = await _calm(stack, seconds)
            tell(f"calm: {calm}")
            flooded = {per: await _flooded(stack, per, seconds / 3) for per in (1, 10)}
            tell(f"flooded: {flooded}")
    return Report(
        "hub",
        [
            Figure("cores for 200 sensors at 1 Hz", 0.10, calm["cores"], "<="),
            Figure("peak resident memory, MiB, same run", 80, calm["rss_mib"], "<="),
            Figure("durable readings a second", 5_000, flooded[1]["committed_per_s"], ">="),
        ],
        {"calm": calm, "flooded_by_readings_a_message": flooded},
    )


async def _calm(stack: Stack, seconds: int) -> dict[str, float]:
    broker = await _start(stack, "calm", window_s=10)
    fleet = ("fleet", "--broker", broker, "--sensors", str(SENSORS), "--connections", "100")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            _sim(stack, *fleet, "--seconds", str(seconds + 10), "--first-sensor-id", "1000")
        )
        await asyncio.sleep(8)  # connecting is not the steady state
        before, start = stack.cpu_seconds()["calm"], time.monotonic()
        await asyncio.sleep(seconds)
        cores = (stack.cpu_seconds()["calm"] - before) / (time.monotonic() - start)
        rss_mib = _peak_mib(stack.processes["calm"])
        await task
    await stack.stop("calm")
    return {"cores": round(cores, 4), "rss_mib": round(rss_mib, 1)}


async def _flooded(stack: Stack, per_message: int, seconds: float) -> dict[str, float]:
    name = f"flooded-{per_message}"
    broker = await _start(stack, name, window_s=10)
    flood = ("flood", "--broker", broker, "--sensors", str(SENSORS), "--connections", "10")
    pace = ("--rate", str(FLOOD_PER_S), "--per-message", str(per_message))
    before = stack.cpu_seconds()[name]
    first = str(10_000 * (1 + per_message))
    told = await _sim(stack, *flood, *pace, "--seconds", str(seconds), "--first-sensor-id", first)
    cpu = stack.cpu_seconds()[name] - before
    rss_mib = _peak_mib(stack.processes[name])
    await stack.stop(name)
    committed = [int(line["progress"]["committed"]) for line in told if "progress" in line]
    return {
        "committed": committed[-1],
        "committed_per_s": round(_slope(committed)),
        "cpu_us_per_reading": round(cpu * 1e6 / max(1, committed[-1]), 1),
        "rss_mib": round(rss_mib, 1),
    }


def _slope(each_second: list[int]) -> float:
    """Return commits a second from the first second that saw any to the last that saw more."""
    rising = [b for a, b in pairwise([0, *each_second]) if b > a]
    return (rising[-1] - rising[0]) / max(1, len(rising) - 1)


async def _start(stack: Stack, name: str, *, window_s: int) -> str:
    port = free_port(0)
    sensors = {"listen": f"127.0.0.1:{port}", "readings_per_s_max": 1_000_000}
    config = await stack.enrol_hub(name, "north", window_s=window_s, sensors=sensors)
    await stack.start_hub(name, config)
    return f"mqtt://127.0.0.1:{port}"


async def _sim(stack: Stack, *words: str) -> list[dict[str, Any]]:
    ledger = stack.home.root / f"ledger-{time.monotonic_ns()}"
    told = await run_once(
        command("firmware_sim", *words, "--ledger", str(ledger)),
        environment(stack.home),
        within_s=_WITHIN_S,
    )
    return [json.loads(line) for line in told.strip().splitlines()]


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> int:
    """Measure and report."""
    options = arguments("hub", __doc__ or "")
    return run(measure(10 if options.quick else 60)).show(as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
