"""The TFLite file the trainer writes: run by a real runtime, it gives what its weights give."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.learn.flatbuffer import IDENTIFIER, tflite_file
from water.model import GOLDEN_TOLERANCE, Layer, load_interpreter, numpy_forward

pytestmark = pytest.mark.spec("D6", "K1")


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_any_network_runs_and_agrees_with_its_weights(widths: list[int], seed: int) -> None:
    rng, sizes = np.random.default_rng(seed), [*widths, 1]
    layers = tuple(
        Layer(
            rng.normal(0, 1 / np.sqrt(inputs), (inputs, outputs)).astype(np.float32),
            rng.normal(size=outputs).astype(np.float32),
        )
        for inputs, outputs in pairwise(sizes)
    )
    file = tflite_file(layers)
    assert file[4:8] == IDENTIFIER
    features = rng.normal(size=(300, widths[0])).astype(np.float32)
    np.testing.assert_allclose(
        load_interpreter(file, widths[0])(features),
        numpy_forward(layers)(features),
        atol=GOLDEN_TOLERANCE / 2,
    )
