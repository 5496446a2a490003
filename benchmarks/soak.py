"""Does it hold for hours? Proofs over real processes, then 10,000 seeds of the simulated river.

Ten proofs on one machine, five at a cluster, a broker that forgets, a storm of reconnecting hubs.
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


def verdict_of(module: str, *words: str, within_s: float) -> dict[str, Any]:
    """Return the last line of a program that prints a verdict as JSON."""
    command = [sys.executable, "-P", "-m", module, *words, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s)
    except subprocess.TimeoutExpired:
        return {"verdict": "no verdict in time"}
    try:
        verdict: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"verdict": f"no verdict, exit status {done.returncode}: {done.stderr[-300:]}"}
    if done.returncode:
        verdict["exit_status"] = done.returncode
    return verdict


def proofs(asked: argparse.Namespace) -> Iterator[tuple[str, str, Sequence[str], int]]:
    """Yield name, module, words and seconds of each proof."""
    kinds = (
        ("prove", (), asked.prove_seeds, asked.prove_seconds),
        ("prove --cluster", ("--cluster",), asked.cluster_seeds, asked.cluster_seconds),
    )
    for name, more, seeds, seconds in kinds:
        for seed in range(1, seeds + 1):
            words = ("prove", *more, "--seconds", str(seconds), "--seed", str(seed))
            yield f"{name} seed {seed}", "headgate.cli", words, seconds
    if asked.single:
        yield "amnesia", "benchmarks.amnesia", ("--seconds", "60"), 60
        yield "storm", "benchmarks.storm", (), 120


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
    parser.add_argument("--cluster-seeds", type=int, default=5)
    parser.add_argument("--cluster-seconds", type=int, default=120)
    parser.add_argument("--single", type=int, default=1, help="0: neither amnesia nor storm")
    parser.add_argument("--sim-seeds", type=int, default=10_000)
    asked = parser.parse_args(arguments)
    bad: list[str] = []
    for name, module, words, seconds in proofs(asked):
        verdict = verdict_of(module, *words, within_s=seconds + SETTLE_S)
        if verdict["verdict"] != GOOD or "exit_status" in verdict:
            bad.append(name)
        print(f"{name}: {json.dumps(verdict)}", flush=True)
    began_s = time.monotonic()
    failed = simulate(asked.sim_seeds)
    minutes = (time.monotonic() - began_s) / 60
    summary = {
        "proofs_failed": bad,
        "sim_seeds": asked.sim_seeds,
        "sim_seeds_a_minute": round(asked.sim_seeds / minutes) if asked.sim_seeds else None,
        "sim_failed": failed,
        "verdict": "failed" if bad or failed else GOOD,
    }
    print(json.dumps(summary), flush=True)
    return 1 if bad or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
