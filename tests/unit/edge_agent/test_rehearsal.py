"""A TFLite file that kills whoever opens it does not kill the hub."""

from dataclasses import replace

import pytest

from edge_agent.rehearsal import rehearsed
from edge_agent.run import model_of
from water.model import Backend, decode, encode, shipped

pytestmark = pytest.mark.spec("D2", "D6")

BUNDLE = decode(shipped())


def test_the_shipped_model_passes_its_trial() -> None:
    model = model_of(shipped)
    assert model is not None
    assert (model.backend, model.why) == (Backend.TFLITE, "")


@pytest.mark.parametrize("kept", [0, 60, 100, 1_000, len(BUNDLE.tflite) - 40])
def test_a_tflite_cut_short_costs_a_process_of_its_own_and_numpy_scores(kept: int) -> None:
    cut = encode(replace(BUNDLE, tflite=BUNDLE.tflite[:kept]))
    model = model_of(lambda: cut)
    assert model is not None
    assert model.backend is Backend.NUMPY
    assert "trial" in model.why


def test_a_trial_says_how_it_ended() -> None:
    with pytest.raises(RuntimeError, match="ended with 1: ValueError"):
        rehearsed(b"no flatbuffer", BUNDLE.told.width)
