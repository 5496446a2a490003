"""How every benchmark answers: lines for people, and one JSON object as the last line."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One target and what was measured against it.

    Attributes:
        name: What it is, with its unit.
        target: The bound.
        measured: What came out.
        sense: Whether the measured value must be at least or at most the target.
    """

    name: str
    target: float
    measured: float
    sense: Literal[">=", "<="]

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        if self.sense == ">=":
            return self.measured >= self.target
        return self.measured <= self.target


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
                print(f"{mark} {figure.name:54} target {bound:10} measured {figure.measured:.4g}")
        line = {
            "bench": self.bench,
            "target": {figure.name: figure.target for figure in self.figures},
            "measured": {figure.name: round(figure.measured, 4) for figure in self.figures},
            "reached": all(figure.reached for figure in self.figures),
            "raw": self.raw,
        }
        print(json.dumps(line))
        return 0 if line["reached"] else 1


def arguments(prog: str, description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options every benchmark shares: ``json`` and ``quick``."""
    parser = argparse.ArgumentParser(prog=f"headgate bench {prog}", description=description)
    parser.add_argument("--json", action="store_true", help="print the last line only")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: a smoke test")
    return parser.parse_args(argv)


def tell(line: str) -> None:
    """Say what goes on, beside the answer."""
    print(line, file=sys.stderr, flush=True)
