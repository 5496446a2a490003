"""``headgate bench``: runs the benchmarks that lie beside the sources."""

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SHORT: Final = ("wire", "hub", "ingest", "cluster", "alert")
BENCHES: Final = (*SHORT, "growth", "rivals")
_CHECKOUT: Final = Path(__file__).resolve().parents[1]


def run(arguments: Sequence[str]) -> int:
    """Run one benchmark, or the short ones one after another; return 0 if every target is met."""
    parser = argparse.ArgumentParser(
        prog="headgate bench",
        description="Measure against the targets; the last line of each is one JSON object.",
        epilog=f"all: {', '.join(SHORT)}. Other options go to the benchmark: bench NAME --help.",
        add_help=not any(each in BENCHES for each in arguments),
    )
    parser.add_argument("bench", choices=(*BENCHES, "all"), help="what to measure")
    parser.add_argument("--json", action="store_true", help="print the JSON lines only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    chosen, its_own = parser.parse_known_args(list(arguments))
    if chosen.bench == "all" and its_own:
        parser.error(f"{' '.join(its_own)}: say which benchmark")
    if not (_CHECKOUT / "benchmarks" / "report.py").exists():
        print(
            "headgate: benchmarks are not installed\n  -> run `make bench` in a checkout",
            file=sys.stderr,
        )
        return 1
    flags = [flag for flag in ("--json", "--quick") if getattr(chosen, flag[2:])]
    wanted = SHORT if chosen.bench == "all" else (chosen.bench,)
    codes = [0]
    for bench in wanted:
        codes.append(_measure([sys.executable, "-m", f"benchmarks.{bench}", *flags, *its_own]))
        if codes[-1] not in (0, 1):  # it was ended, or ended badly
            break
    return max(codes, key=abs)


def _measure(command: Sequence[str]) -> int:
    """Run one benchmark; return its exit status. Who ends us waits until it has cleaned up."""
    with subprocess.Popen(command, cwd=_CHECKOUT) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the benchmark itself
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
