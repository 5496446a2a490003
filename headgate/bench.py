"""``headgate bench``: runs the benchmarks that lie beside the sources."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BENCHES: Final = ("wire", "hub", "ingest", "alert")
_CHECKOUT: Final = Path(__file__).resolve().parents[1]


def run(arguments: Sequence[str]) -> int:
    """Run one benchmark, or all of them one after another; return 0 if every target is met."""
    parser = argparse.ArgumentParser(
        prog="headgate bench",
        description="Measure against the targets; the last line of each is one JSON object.",
    )
    parser.add_argument("bench", choices=(*BENCHES, "all"), help="what to measure")
    parser.add_argument("--json", action="store_true", help="print the JSON lines only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    chosen = parser.parse_args(list(arguments))
    if not (_CHECKOUT / "benchmarks" / "report.py").exists():
        print(
            "headgate: benchmarks are not installed\n  -> run `make bench` in a checkout",
            file=sys.stderr,
        )
        return 1
    flags = [flag for flag in ("--json", "--quick") if getattr(chosen, flag[2:])]
    wanted = BENCHES if chosen.bench == "all" else (chosen.bench,)
    codes = [
        subprocess.run(
            [sys.executable, "-m", f"benchmarks.{bench}", *flags], cwd=_CHECKOUT, check=False
        ).returncode
        for bench in wanted
    ]
    return max(codes)
