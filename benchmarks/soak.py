"""Does it hold for hours? Ten proofs over real processes, then 10,000 seeds of the simulated river.

python -m benchmarks.soak [--prove-seeds 10] [--prove-seconds 60] [--sim-seeds 10000]
Prints a line for every verdict and one for all; exit status 1 if any failed.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

from tests.sim.river_sim import try_seeds

GOOD: Final = "nothing lost"
SIM_PROCESSES: Final = 2
SEEDS_A_TURN: Final = 250
SETTLE_S: Final = 1_200
"""What a proof may take beside its flood: starting, healing, draining, comparing."""


def prove(seed: int, seconds: int) -> dict[str, Any]:
    """Return the verdict of one proof, over real processes that are killed."""
    command = [sys.executable, "-P", "-m", "headgate.cli", "prove"]
    command += ["--seconds", str(seconds), "--seed", str(seed), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SETTLE_S)
    except subprocess.TimeoutExpired:
        return {"verdict": "no verdict in time"}
    try:
        verdict: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"verdict": f"no verdict, exit status {done.returncode}: {done.stderr[-300:]}"}
    if done.returncode:
        verdict["exit_status"] = done.returncode
    return verdict


def turns(seeds: int) -> Iterator[range]:
    """Yield seeds 1 to ``seeds`` in turns that keep all processes busy to the end."""
    for first in range(1, seeds + 1, SEEDS_A_TURN):
        yield range(first, min(first + SEEDS_A_TURN, seeds + 1))


def simulate(seeds: int) -> list[int]:
    """Return the seeds that failed."""
    failed: list[int] = []
    with ProcessPoolExecutor(SIM_PROCESSES) as pool:
        for turn, found in zip(turns(seeds), pool.map(try_seeds, turns(seeds)), strict=True):
            failed += found
            print(f"sim seeds {turn[0]}-{turn[-1]}: {len(found)} failed {found}", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return 0 if every verdict is good."""
    parser = argparse.ArgumentParser(description="hours of proof")
    parser.add_argument("--prove-seeds", type=int, default=10)
    parser.add_argument("--prove-seconds", type=int, default=60)
    parser.add_argument("--sim-seeds", type=int, default=10_000)
    asked = parser.parse_args(arguments)
    bad: list[int] = []
    for seed in range(1, asked.prove_seeds + 1):
        verdict = prove(seed, asked.prove_seconds)
        good = verdict["verdict"] == GOOD and "exit_status" not in verdict
        if not good:
            bad.append(seed)
        print(f"prove seed {seed}: {json.dumps(verdict)}", flush=True)
    began_s = time.monotonic()
    failed = simulate(asked.sim_seeds)
    minutes = (time.monotonic() - began_s) / 60
    summary = {
        "prove_seeds": asked.prove_seeds,
        "prove_failed": bad,
        "sim_seeds": asked.sim_seeds,
        "sim_seeds_a_minute": round(asked.sim_seeds / minutes) if asked.sim_seeds else None,
        "sim_failed": failed,
        "verdict": "failed" if bad or failed else GOOD,
    }
    print(json.dumps(summary), flush=True)
    return 1 if bad or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
