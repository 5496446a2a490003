"""Run the simulated river from the command line: many seeds, or one of them in full view.

python -m tests.sim.river_sim --seeds 1-1000
python -m tests.sim.river_sim --seed 17 --verbose
"""

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from tests.support.river import a_river
from tests.support.sim_laws import check
from tests.support.sim_life import Weather


def try_seed(seed: int) -> tuple[BaseException | None, list[tuple[int, str]]]:
    """Return what went wrong with a seed, if anything did, and its trace.

    The trace is (virtual milliseconds, what happened): the same for the same seed.
    """
    weather = Weather(seed)
    try:
        check(a_river(weather))
    except Exception as broken:  # noqa: BLE001 - whatever a part raises is what we look for
        return broken, weather.trace
    return None, weather.trace


def try_seeds(seeds: range) -> list[int]:
    """Try seeds; print the failing ones with how to see them again; return them."""
    failed = []
    for seed in seeds:
        broken, _ = try_seed(seed)
        if broken is not None:
            failed.append(seed)
            say(f"seed {seed}: {broken!r}"[:500])
            say(f"  again: python -m tests.sim.river_sim --seed {seed} --verbose")
    return failed


def show(seed: int, *, verbose: bool) -> bool:
    """Run one seed, say what happened, and return whether every law held."""
    broken, trace = try_seed(seed)
    if verbose:
        for at_ms, what in trace:
            say(f"{at_ms / 1_000:9.3f} s  {what}")
    if broken is not None:
        if verbose:
            traceback.print_exception(broken)
        say(f"seed {seed}: {broken!r}")
    else:
        say(f"seed {seed}: every law held")
    return broken is None


def say(line: str) -> None:
    """Print a line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def span(text: str) -> range:
    """Return the seeds written ``1-1000``, both ends included.

    Raises:
        ValueError: They are not written so.
    """
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if every law held for every seed."""
    parser = argparse.ArgumentParser(description="the whole river, simulated")
    parser.add_argument("--seeds", type=span, default=span("1-1000"), help="such as 1-1000")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--verbose", action="store_true", help="with the whole trace of --seed")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return 0 if show(asked.seed, verbose=asked.verbose) else 1
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    failed = try_seeds(asked.seeds)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    count = len(asked.seeds)
    say(
        f"{count} seeds in {took_s:.1f} s ({60 * count / took_s:.0f} a minute; "
        f"{60 * count / cpu_s:.0f} a minute of CPU), {len(failed)} failed {failed[:20]}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
