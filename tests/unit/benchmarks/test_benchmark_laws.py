"""Benchmarks: what could not be measured is a miss; every reader of strangers' bytes is timed."""

import ast
import json
from pathlib import Path

import pytest

from benchmarks import alert, wire
from benchmarks.hostile import CORPUS
from benchmarks.report import Report
from headgate.bench import BENCHES
from headgate.demo.watch import Watch

FOLDER = Path(wire.__file__).parent


@pytest.mark.parametrize("as_json", [True, False])
def test_no_alert_timed_is_a_miss_and_no_crash(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("alert", alert.figures(Watch().latency()))
    assert report.show(as_json=as_json) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith("MISS") for line in lines)
    assert len(lines) == (0 if as_json else 2)
    said = json.loads(last)
    assert said["reached"] is False
    assert list(said["measured"].values()) == [None, 0]


def test_alerts_in_time_and_enough_of_them_reach_the_target() -> None:
    assert [figure.reached for figure in alert.figures({"n": 200, "p50": 9, "p99": 300})] == [
        True,
        True,
    ]
    assert [figure.reached for figure in alert.figures({"n": 199, "p50": 9, "p99": 300.1})] == [
        False,
        False,
    ]


def test_every_hostile_input_is_timed_at_every_reader() -> None:
    heard: list[list[bytes]] = [[], [], []]
    took_ms = wire.hostile_ms([one.append for one in heard])
    assert took_ms.keys() == CORPUS.keys()
    assert heard == [list(CORPUS.values())] * 3


@pytest.mark.parametrize("bench", BENCHES)
def test_a_benchmark_does_without_the_tests(bench: str) -> None:
    sources = list((FOLDER / bench).glob("*.py")) or [FOLDER / f"{bench}.py"]
    trees = (ast.parse(source.read_text()) for source in sources)
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.split(".")[0] == "tests"]
