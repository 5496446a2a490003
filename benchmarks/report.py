"""How every benchmark answers: lines for people, and one JSON object as the last line."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One target and what was measured against it.

    Attributes:
        name: What it is, with its unit.
        target: The bound.
        measured: What came out; None if nothing could be measured, which misses every target.
        sense: Whether the measured value must be at least or at most the target.
    """

    name: str
    target: float
    measured: float | None
    sense: Literal[">=", "<="]

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        if self.measured is None:
            return False
        if self.sense == ">=":
            return self.measured >= self.target
        return self.measured <= self.target

    @property
    def rounded(self) -> float | None:
        """What came out, to four decimals."""
        return None if self.measured is None else round(self.measured, 4)

    @property
    def said(self) -> str:
        """What came out, for people."""
        return "nothing" if self.measured is None else f"{self.measured:.4g}"


@dataclass(slots=True)
class Report:
    """The answer to one question."""

    bench: str
    figures: list[Figure] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def show(self, *, as_json: bool) -> int:
        """Print the answer; return 0 if every target is met, else 1."""
        if not as_json:
            for figure in self.figures:
                mark = "ok  " if figure.reached else "MISS"
                bound = f"{figure.sense} {figure.target:g}"
                print(f"{mark} {figure.name:54} target {bound:10} measured {figure.said}")
        line = {
            "bench": self.bench,
            "target": {figure.name: figure.target for figure in self.figures},
            "measured": {figure.name: figure.rounded for figure in self.figures},
            "reached": all(figure.reached for figure in self.figures),
            "raw": self.raw,
        }
        print(json.dumps(line))
        return 0 if line["reached"] else 1


def options_of(prog: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options every benchmark shares: ``json`` and ``quick``."""
    parser = argparse.ArgumentParser(prog=f"headgate bench {prog}", description=description)
    parser.add_argument("--json", action="store_true", help="print the last line only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    return parser


def arguments(prog: str, description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what was asked of a benchmark that has no other options."""
    return options_of(prog, description).parse_args(argv)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of it. SIGTERM cancels it, so that it takes away all it has made.

    Raises:
        SystemExit: It was cancelled.
    """
    try:
        return asyncio.run(_until_told(work))
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


def tell(line: str) -> None:
    """Say what goes on, beside the answer."""
    print(line, file=sys.stderr, flush=True)
