"""A model's bundle: whole or refused; and scores that are right or not given at all."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from water.features import RESIDUAL_MAX
from water.model import (
    BUNDLE_BYTES_MAX,
    GOLDEN_TOLERANCE,
    ROWS_AT_ONCE,
    VERSION,
    Backend,
    Forward,
    MalformedBundleError,
    Scores,
    decode,
    encode,
    load,
    load_interpreter,
    numpy_forward,
    shipped,
)
from wire.pack import pack, unpack

pytestmark = pytest.mark.spec("D2", "D4", "D6", "K3")

BODY = shipped()
BUNDLE = decode(BODY)
WIDTH = BUNDLE.told.width
INVOKED = load_interpreter(BUNDLE.tflite, WIDTH)


def absent(_: bytes, __: int) -> Forward:
    raise ModuleNotFoundError("No module named 'tflite_runtime'")


def unlucky(_: bytes, __: int) -> Forward:
    raise SystemError("built against another numpy")


def lying(_: bytes, __: int) -> Forward:
    def forward(features: Scores) -> Scores:
        return np.clip(numpy_forward(BUNDLE.layers)(features) + 2 * GOLDEN_TOLERANCE, 0, 1)

    return forward


def speechless(_: bytes, __: int) -> Forward:
    return lambda features: np.full(len(features), np.nan, np.float32)


def resealed(payload: bytes) -> bytes:
    digest = hashlib.sha256(bytes((VERSION,)) + payload).digest()
    body: bytes = pack([VERSION, payload, digest])
    return body


@given(arrays(np.float32, (7, WIDTH), elements=st.floats(0, 3.9375, width=32)))
def test_the_runtime_and_numpy_agree_on_the_shipped_model(features: Scores) -> None:
    np.testing.assert_allclose(
        INVOKED(features), numpy_forward(BUNDLE.layers)(features), atol=GOLDEN_TOLERANCE / 2
    )


def test_the_shipped_model_runs_on_tflite() -> None:
    model = load(BODY)
    assert (model.backend, model.why) == (Backend.TFLITE, "")
    assert {"record", "made", "training", "verdict"} <= model.notes.keys()


@pytest.mark.parametrize("rows", [1, ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 1_000])
def test_any_number_of_rows_scores_as_each_row_alone(rows: int) -> None:
    features = np.random.default_rng(1).uniform(0, 3, (rows, WIDTH)).astype(np.float32)
    scores = load(BODY).score(features)
    alone = [INVOKED(features[row : row + 1])[0] for row in range(rows)]
    np.testing.assert_allclose(scores, alone, atol=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_extreme_features_score_within_bounds() -> None:
    top = np.full((1, WIDTH), np.log1p(RESIDUAL_MAX), np.float32)
    for forward in (INVOKED, numpy_forward(BUNDLE.layers)):
        assert 0 <= forward(top)[0] <= 1


def test_calm_water_scores_low_and_wild_water_high() -> None:
    calm, wild = np.full((2, WIDTH), 0.5, np.float32), np.full((1, WIDTH), 2.5, np.float32)
    assert load(BODY).score(calm).max() < 0.1 < 0.5 < load(BODY).score(wild)[0]


def test_a_row_without_features_has_no_score_and_costs_its_neighbours_nothing() -> None:
    features = BUNDLE.golden[:3].copy()
    features[1, 0] = np.nan
    scores = load(BODY).score(features)
    assert np.isnan(scores).tolist() == [False, True, False]
    np.testing.assert_allclose(scores[[0, 2]], BUNDLE.expected[[0, 2]], atol=GOLDEN_TOLERANCE)
    assert np.isnan(load(BODY).score(np.full((2, WIDTH), np.nan, np.float32))).all()


@pytest.mark.parametrize("runtime", [absent, unlucky, lying, speechless])
def test_a_runtime_that_is_absent_or_wrong_is_replaced_by_numpy_and_says_why(
    runtime: Callable[[bytes, int], Forward],
) -> None:
    model = load(BODY, runtime)
    assert model.backend is Backend.NUMPY
    assert model.why
    np.testing.assert_allclose(model.score(BUNDLE.golden), BUNDLE.expected, atol=GOLDEN_TOLERANCE)


def test_a_tflite_of_other_weights_is_found_out_by_the_golden_vectors() -> None:
    at = BUNDLE.tflite.index(BUNDLE.layers[-1].bias.astype("<f4").tobytes())
    other = BUNDLE.tflite[:at] + np.float32(-9).tobytes() + BUNDLE.tflite[at + 4 :]
    model = load(encode(replace(BUNDLE, tflite=other)))
    assert model.backend is Backend.NUMPY
    assert "golden" in model.why


@pytest.mark.parametrize("tflite", [b"", b"no flatbuffer"])
def test_a_broken_tflite_is_replaced_by_numpy(tflite: bytes) -> None:
    assert load(encode(replace(BUNDLE, tflite=tflite))).backend is Backend.NUMPY


def test_weights_that_miss_their_own_golden_scores_are_refused() -> None:
    with pytest.raises(MalformedBundleError, match="golden"):
        load(encode(replace(BUNDLE, expected=1 - BUNDLE.expected)))


def test_a_bundle_comes_back_as_it_was() -> None:
    again = decode(encode(BUNDLE))
    assert (again.told, again.tflite, again.notes) == (BUNDLE.told, BUNDLE.tflite, BUNDLE.notes)
    assert encode(again) == BODY
    assert len(BODY) <= BUNDLE_BYTES_MAX


@given(st.integers(0, len(BODY) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_refused(place: int, bit: int) -> None:
    broken = bytearray(BODY)
    broken[place] ^= 1 << bit
    with pytest.raises(MalformedBundleError):
        decode(bytes(broken))


@given(st.integers(0, len(BODY) - 1))
def test_a_bundle_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MalformedBundleError):
        decode(BODY[:length])


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(MalformedBundleError):
        decode(body)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (0, None),
        (0, [[], 4.0, 1, 4.0, 60, 3]),
        (0, [[1, 2, 3], 4.0, 1, 4.0, 60, 99]),
        (0, [[1, 2, 3], 4.0, -1, 4.0, 60, 3]),
        (0, [[1, 2, 3], float("nan"), 1, 4.0, 60, 3]),
        (0, [[1, 2], 4.0, 1, 4.0, 60, 3]),
        (1, "text"),
        (2, []),
        (2, [[[12, 1], b"", b""]]),
        (2, [[[2**40, 2**40], b"", b""]]),
        (2, [[[12, 1], np.full(12, np.nan, "<f4").tobytes(), b"\0\0\0\0"]]),
        (3, [b"", b""]),
        (3, [b"odd", b""]),
        (4, {1: 2}),
        (4, [1]),
    ],
)
def test_a_bundle_that_contradicts_itself_is_refused_though_its_digest_holds(
    part: int, value: object
) -> None:
    _, payload, _ = unpack(BODY, bytes_max=BUNDLE_BYTES_MAX)
    parts = unpack(payload, bytes_max=BUNDLE_BYTES_MAX)
    assert decode(resealed(pack(parts))).told == BUNDLE.told
    parts[part] = value
    with pytest.raises(MalformedBundleError):
        decode(resealed(pack(parts)))


def test_a_bundle_too_large_for_one_message_is_not_made_nor_read() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode(replace(BUNDLE, tflite=bytes(BUNDLE_BYTES_MAX)))
    with pytest.raises(MalformedBundleError):
        decode(bytes(BUNDLE_BYTES_MAX + 1))
