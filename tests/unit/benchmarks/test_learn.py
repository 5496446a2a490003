"""The trainer: repeatable, able to learn, and honest in what it counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learn.gecco import features, read
from benchmarks.learn.network import Training, train
from benchmarks.learn.verdict import alarms, judge, runs
from water.features import Parameters
from water.model import numpy_forward
from wire.metric import Metric

pytestmark = pytest.mark.spec("D2", "D6")

SHORT = Training(hidden=(8,), epochs=30, rows_a_step=64, rate=3e-2)


def marks(text: str) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return np.array([letter == "x" for letter in text])


def test_it_learns_what_no_single_layer_could() -> None:
    sides = np.random.default_rng(1).uniform(-1, 1, (1_000, 2))
    features = (sides * [1, 100] + [5, -300]).astype(np.float32)
    wanted = sides[:, 0] * sides[:, 1] > 0
    found = numpy_forward(train(features, wanted, SHORT))(features) > 0.5
    assert (found == wanted).mean() > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    features = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    one, again, other = (
        train(features, features[:, 0] > 0, replace(SHORT, seed=seed)) for seed in (1, 1, 2)
    )
    for layer, twin in zip(one, again, strict=True):
        np.testing.assert_array_equal(layer.weights, twin.weights)
    assert (one[0].weights != other[0].weights).any()


def test_an_alarm_takes_two_of_the_last_three_rows() -> None:
    scores = np.array([0.6, 0.4, 0.5, np.nan, 0.9, 0.1, 0.1, 0.9, 0.9], np.float32)
    assert alarms(scores, 0.5).tolist() == marks("..x.x...x").tolist()


def test_an_alarm_far_from_every_event_is_false_and_near_ones_count_once() -> None:
    event = marks("." * 40 + "xxxx" + "." * 40 + "xx")
    alarm = marks("xx.x" + "." * 37 + "xx" + "." * 43)
    verdict = judge(event, alarm, 60_000)
    assert (verdict.events, verdict.found) == (2, 1)
    assert (verdict.precision, verdict.recall) == (2 / 5, 2 / 6)
    assert verdict.f1 == pytest.approx(4 / 11)
    assert verdict.false_alarms_a_day == pytest.approx(1_440 / 80)
    assert runs(event) == [(40, 44), (84, 86)]


def test_a_record_becomes_what_each_sensor_of_the_map_would_have_said(tmp_path: Path) -> None:
    lines = [f"2016-02-15 00:{minute:02}:00,{minute},{7.5},0.2" for minute in range(9)]
    lines[4] = "2016-02-15 00:04:00,,,"
    (tmp_path / "data.csv").write_text("\n".join(["Time,Fm,pH,Cl_2", *lines]) + "\n")
    labels = [f"{line.split(',')[0]},{minute == 7}" for minute, line in enumerate(lines)]
    (tmp_path / "labels.csv").write_text("\n".join(["Time,EVENT", *labels]) + "\n")
    (tmp_path / "map.toml").write_text(
        'title = "t"\ntime_column = "Time"\ntime_zone = "UTC"\nabsent_texts = [""]\n'
        'absent_numbers = []\n[[sensors]]\nname = "a"\ncolumns.Fm = { metric = "flow" }\n'
        'columns.pH = { metric = "ph_level" }\n[[sensors]]\nname = "b"\n'
        'columns.Cl_2 = { metric = "chlorine_dioxide" }\n'
    )
    record = read(tmp_path / "data.csv", tmp_path / "labels.csv", tmp_path / "map.toml")
    assert record.event.tolist() == marks(".......x.").tolist()
    assert np.isnan(record.values[:, 4]).all()
    assert (record.values[0, 5, Metric.PH], record.values[0, 5, Metric.FLOW]) == (7.5, 5)
    found = features(record, Parameters(warm_readings=3))
    judged = ~np.isnan(found).any(axis=2)
    assert judged.tolist() == [marks("...x.xxxx").tolist()] * 2
