"""How well does the hub's model do on water it has never seen? Trains it, judges it, writes it.

It learns from the first days of a labelled record and is judged on the rest, by the rule any user
of the column could apply: two of the last three rows in which some sensor's score is one half or
more. Nothing is chosen by looking at the days it is judged on.
"""

import argparse
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.learn.flatbuffer import tflite_file
from benchmarks.learn.gecco import Record, features, read
from benchmarks.learn.network import Training, train
from benchmarks.learn.verdict import Verdict, alarms, judge
from benchmarks.report import Figure, Report
from water.features import Parameters
from water.model import (
    GOLDEN_MAX,
    SHIPPED,
    Bundle,
    Layer,
    encode,
    load,
    numpy_forward,
)

THRESHOLD: Final = 0.5
LEARN_DAYS: Final = 50
"""Events come in clusters: the record is cut where five quiet days lie between two of them."""
SEEDS: Final = 5
"""So few events leave much to chance: how much is told beside the verdict."""
_DAY_MS: Final = 86_400_000

Floats = NDArray[np.float32]


def main() -> int:
    """Train, judge, write and report."""
    told = _arguments()
    record = read(told.data, told.labels, told.map)
    parameters, training = Parameters(), Training(seed=told.seed)
    found = features(record, parameters)
    late = record.at_ms >= record.at_ms[0] + LEARN_DAYS * _DAY_MS
    lessons = _lessons(record, found, ~late)
    layers = train(*lessons, training)
    verdict = _judged(record, found, layers, late)
    others = [replace(training, seed=told.seed + further) for further in range(1, SEEDS)]
    f1 = [_judged(record, found, train(*lessons, other), late).f1 for other in others]
    notes = {
        "record": told.map.stem,
        "record sha256": _sha256(told.data),
        "labels sha256": _sha256(told.labels),
        "learnt": _span(record, ~late),
        "judged": _span(record, late),
        "made": told.date.isoformat(),
        "training": repr(training),
        "rule": f"2 of 3 rows in which a sensor scores {THRESHOLD} or more",
        "verdict": json.dumps(verdict.as_json()),
        "f1 of the next seeds": ", ".join(f"{one:.2f}" for one in f1),
    }
    golden = _golden(found, layers)
    expected = numpy_forward(layers)(golden)
    body = encode(Bundle(parameters, tflite_file(layers), layers, golden, expected, notes))
    model = load(body)
    told.out.write_bytes(body)
    backend = {"backend": model.backend, "why": model.why, "bundle_bytes": len(body)}
    return Report("learn", _figures(verdict), backend | notes).show(as_json=told.json)


def _arguments() -> argparse.Namespace:
    here = Path(__file__).parents[2]
    parser = argparse.ArgumentParser("benchmarks.learn", description=__doc__)
    parser.add_argument("data", type=Path, help="CSV or CSV.gz")
    parser.add_argument("labels", type=Path, help="the same rows, with a column EVENT")
    parser.add_argument("--map", type=Path, default=here / "firmware_sim/maps/gecco2017.toml")
    parser.add_argument("--out", type=Path, default=here / "water" / SHIPPED)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--date", type=date.fromisoformat, default=datetime.now(UTC).date())
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _lessons(
    record: Record, found: Floats, rows: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return features and labels of these rows, each sensor's rows by themselves."""
    whole = ~np.isnan(found).any(axis=2) & rows
    return found[whole], np.broadcast_to(record.event, whole.shape)[whole]


def _judged(
    record: Record, found: Floats, layers: tuple[Layer, ...], rows: NDArray[np.bool_]
) -> Verdict:
    whole = ~np.isnan(found).any(axis=2)
    scores = np.full(whole.shape, np.nan, np.float32)
    scores[whole] = numpy_forward(layers)(found[whole])
    alarm = alarms(np.fmax.reduce(scores), THRESHOLD)
    row_ms = int(np.median(np.diff(record.at_ms)))
    return judge(record.event[rows], alarm[rows], row_ms)


def _golden(found: Floats, layers: tuple[Layer, ...]) -> Floats:
    """Return features whose scores cover everything from the lowest to the highest."""
    known = np.unique(found[~np.isnan(found).any(axis=2)], axis=0)
    order = np.argsort(numpy_forward(layers)(known), kind="stable")
    places = np.linspace(0, 1, GOLDEN_MAX // 2)
    spread = np.concatenate([places, places**0.01])  # high scores are few
    golden: Floats = known[order[np.rint(spread * (len(order) - 1)).astype(np.intp)]]
    return golden


def _figures(verdict: Verdict) -> list[Figure]:
    return [
        Figure("F1 of rows", 0.65, verdict.f1, ">="),
        Figure("share of events found", 40 / 51, verdict.found / verdict.events, ">="),
        Figure("false alarms a day", 0.18, verdict.false_alarms_a_day, "<="),
    ]


def _span(record: Record, rows: NDArray[np.bool_]) -> str:
    at_ms = record.at_ms[rows]
    first, last = (datetime.fromtimestamp(int(t) / 1_000, UTC).date() for t in at_ms[[0, -1]])
    return f"{first} to {last}, {len(at_ms)} rows, {int(record.event[rows].sum())} of events"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
