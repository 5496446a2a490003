"""The model that scores a reading's features, and the bundle it travels in.

A bundle holds everything a score depends on: the network as a TFLite file and as plain weights, how
features are made, and golden vectors: inputs with the scores they must give. They are checked each
time a model is loaded. A TFLite that is absent, or gives other numbers, is replaced by the same
forward pass in numpy, and says so; wrong numbers are never returned.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass
from enum import StrEnum
from importlib import resources
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from water.features import JUDGED, Parameters
from wire.errors import PeerError
from wire.limits import CONTROL_BYTES_MAX, KIB
from wire.pack import UNPACKABLE, pack, unpack

VERSION: Final = 1
BUNDLE_BYTES_MAX: Final = 60 * KIB
SHIPPED: Final = "contamination.bundle"

LAYERS_MAX: Final = 8
NEURONS_MAX: Final = 256
GOLDEN_MAX: Final = 64
NOTES_MAX: Final = 32
COUNT_MAX: Final = 2**32
GOLDEN_TOLERANCE: Final = 1e-4
"""Farther from a golden score a backend is not believed; a step of the wire's score is 1/254."""
ROWS_AT_ONCE: Final = 256
"""What one call of the interpreter takes; more are cut up, fewer are filled up."""

# A bundle must fit one control message, with room for what is said and signed around it.
assert BUNDLE_BYTES_MAX + 2 * KIB <= CONTROL_BYTES_MAX

Scores = NDArray[np.float32]
Forward = Callable[[Scores], Scores]
"""From features, float32 ``(n, width)``, finite, to scores, float32 ``(n,)``, 0..1."""


class MalformedBundleError(PeerError):
    """The bytes are no bundle, or a bundle that contradicts itself."""


class Backend(StrEnum):
    """What computes the scores."""

    TFLITE = "tflite"
    NUMPY = "numpy"


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One dense layer: ``x @ weights + bias``, then ReLU, or the logistic function if it is last.

    Attributes:
        weights: float32, shape ``(inputs, outputs)``.
        bias: float32, shape ``(outputs,)``.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model and everything its scores depend on.

    Attributes:
        told: How features are made.
        tflite: The network as a TFLite file; float32 in and out.
        layers: The same network as weights.
        golden: float32, shape ``(g, width)``: features to be checked at every load.
        expected: float32, shape ``(g,)``: their scores.
        notes: Where it comes from: record, dates, seed, how well it does.
    """

    told: Parameters
    tflite: bytes
    layers: tuple[Layer, ...]
    golden: NDArray[np.float32]
    expected: NDArray[np.float32]
    notes: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse a bundle whose parts do not fit each other.

        Raises:
            ValueError: Says which.
        """
        widths = [self.told.width, *(len(layer.bias) for layer in self.layers)]
        shapes = [layer.weights.shape for layer in self.layers]
        _require(1 <= len(self.layers) <= LAYERS_MAX, "has no fit number of layers")
        _require(max(widths) <= NEURONS_MAX and widths[-1] == 1, "has a layer of no fit width")
        _require(shapes == list(pairwise(widths)), "has layers that do not fit")
        _require(1 <= len(self.golden) <= GOLDEN_MAX, "has no fit number of golden vectors")
        _require(self.golden.shape == (len(self.expected), widths[0]), "has odd golden vectors")
        numbers = [self.golden, self.expected]
        numbers += [part for layer in self.layers for part in (layer.weights, layer.bias)]
        _require(all(np.isfinite(part).all() for part in numbers), "has a number that is none")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A bundle ready to score.

    Attributes:
        told: How the features it wants are made.
        backend: What computes the scores.
        why: Why that is not TFLite; empty if it is.
        forward: See ``Forward``.
        notes: See ``Bundle``.
    """

    told: Parameters
    backend: Backend
    why: str
    forward: Forward
    notes: dict[str, str]

    def score(self, features: NDArray[np.float32]) -> Scores:
        """Return how much each reading looks like contamination.

        Args:
            features: float32, shape ``(n, width)``; a row with NaN is not to be judged.

        Returns:
            float32, shape ``(n,)``, 0..1; NaN where nothing was judged.
        """
        scores = np.full(len(features), np.nan, np.float32)
        whole = ~np.isnan(features).any(axis=1)
        if whole.any():
            scores[whole] = self.forward(features[whole])
        return scores


def shipped() -> bytes:
    """Return the bundle that came with the software.

    Raises:
        OSError: It did not.
    """
    return resources.files("water").joinpath(SHIPPED).read_bytes()


def load(body: bytes, open_tflite: "Callable[[bytes, int], Forward] | None" = None) -> Model:
    """Return the model in a bundle, golden vectors checked.

    Args:
        body: A bundle.
        open_tflite: What runs a TFLite file, given it and the number of features;
            ``load_interpreter`` by default.

    Raises:
        MalformedBundleError: It is none, or not even its own weights give the golden scores.
    """
    bundle = decode(body)
    plain = numpy_forward(bundle.layers)
    off = _off(plain, bundle)
    if off:
        raise MalformedBundleError(f"its own weights {off}")
    try:
        forward = (open_tflite or load_interpreter)(bundle.tflite, bundle.told.width)
        why = _off(forward, bundle)
    except (ImportError, ValueError, RuntimeError, SystemError) as exc:
        forward, why = plain, f"{type(exc).__name__}: {exc}"
    if why:
        return Model(bundle.told, Backend.NUMPY, why, plain, bundle.notes)
    return Model(bundle.told, Backend.TFLITE, "", forward, bundle.notes)


def load_interpreter(tflite: bytes, width: int) -> Forward:
    """Return a TFLite file, ready to run on one thread: the only place that knows a runtime.

    Not to be called from two threads at once. The runtime trusts the file as it would code: one cut
    short may end the process, or not, as memory happens to lie. Trying it first in another process
    shows nothing. What guards it is the bundle's digest, and that its maker loaded it.

    Raises:
        ImportError: There is no runtime here.
        ValueError: It is no such file, or its input is not ``(n, width)``.
        RuntimeError: The runtime cannot run it.
        SystemError: The runtime was built against another numpy.
    """
    if sys.version_info < (3, 12):
        from tflite_runtime.interpreter import Interpreter, OpResolverType
    else:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    # For a network this small the default delegate is only memory.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=tflite, num_threads=1, experimental_op_resolver_type=plain
    )
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.resize_tensor_input(into["index"], (ROWS_AT_ONCE, width), strict=False)
    interpreter.allocate_tensors()

    def forward(features: Scores) -> Scores:
        scores = np.empty(len(features), np.float32)
        filled = np.zeros((ROWS_AT_ONCE, width), np.float32)
        for low in range(0, len(features), ROWS_AT_ONCE):
            some = features[low : low + ROWS_AT_ONCE]
            filled[: len(some)] = some
            interpreter.set_tensor(into["index"], filled)
            interpreter.invoke()
            scores[low : low + len(some)] = interpreter.get_tensor(out["index"])[: len(some), 0]
        return scores

    return forward


def numpy_forward(layers: tuple[Layer, ...]) -> Forward:
    """Return the forward pass of dense layers without any runtime."""

    def forward(features: Scores) -> Scores:
        values = features
        for layer in layers[:-1]:
            values = np.maximum(values @ layer.weights + layer.bias, 0)
        logit = (values @ layers[-1].weights + layers[-1].bias)[:, 0]
        scores: Scores = ((1 + np.tanh(logit / 2)) / 2).astype(np.float32)
        return scores

    return forward


def encode(bundle: Bundle) -> bytes:
    """Return the bytes of a bundle: msgpack ``[version, payload, SHA-256]``.

    Raises:
        ValueError: It is larger than ``BUNDLE_BYTES_MAX``.
    """
    layers = [
        (layer.weights.shape, _bytes(layer.weights), _bytes(layer.bias)) for layer in bundle.layers
    ]
    golden = (_bytes(bundle.golden), _bytes(bundle.expected))
    payload = pack([astuple(bundle.told), bundle.tflite, layers, golden, bundle.notes])
    body: bytes = pack([VERSION, payload, _digest(payload)])
    _require(len(body) <= BUNDLE_BYTES_MAX, f"is of {len(body)} bytes")
    return body


def decode(body: bytes) -> Bundle:
    """Return the bundle in ``body``.

    Raises:
        MalformedBundleError: It is none. Nothing else escapes.
    """
    try:
        version, payload, digest = unpack(body, bytes_max=BUNDLE_BYTES_MAX)
        _require(type(version) is int and version == VERSION, f"is not of version {VERSION}")
        _require(type(payload) is bytes and _digest(payload) == digest, "does not match its digest")
        told, tflite, layers, (golden, expected), notes = unpack(
            payload, bytes_max=BUNDLE_BYTES_MAX
        )
        _require(type(tflite) is bytes and len(layers) <= LAYERS_MAX, "has another shape")
        parameters = _parameters(told)
        return Bundle(
            parameters,
            tflite,
            tuple(
                Layer(_floats(weights).reshape(shape), _floats(bias))
                for shape, weights, bias in layers
            ),
            _floats(golden).reshape(-1, parameters.width),
            _floats(expected),
            _notes(notes),
        )
    except (ValueError, TypeError, *UNPACKABLE) as exc:
        raise MalformedBundleError(str(exc)) from exc


def _off(forward: Forward, bundle: Bundle) -> str:
    """Return how far a backend is from the golden scores, in words; empty if it is not."""
    apart = np.abs(forward(bundle.golden) - bundle.expected)
    worst = float(apart.max())
    return "" if worst <= GOLDEN_TOLERANCE else f"miss a golden score by {worst:.3g}"


def _parameters(told: Any) -> Parameters:
    memory_ms, freeze_at, accept_ms, steps_min, warm_readings, shown = told
    counts = (*memory_ms, accept_ms, warm_readings, shown)
    sizes = (freeze_at, steps_min)
    _require(all(type(n) is int and 0 < n <= COUNT_MAX for n in counts), "has an odd count")
    _require(all(type(n) is float and 0 < n <= COUNT_MAX for n in sizes), "has an odd size")
    _require(1 <= len(memory_ms) <= LAYERS_MAX and shown <= len(JUDGED), "has odd features")
    return Parameters(tuple(memory_ms), freeze_at, accept_ms, steps_min, warm_readings, shown)


def _notes(notes: Any) -> dict[str, str]:
    _require(type(notes) is dict and len(notes) <= NOTES_MAX, "has odd notes")
    _require(all(type(part) is str for note in notes.items() for part in note), "has odd notes")
    return dict(notes)


def _floats(body: Any) -> NDArray[np.float32]:
    return np.frombuffer(body, "<f4").astype(np.float32)


def _bytes(values: NDArray[np.float32]) -> bytes:
    return values.astype("<f4").tobytes()


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(bytes((VERSION,)) + payload).digest()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"bundle {otherwise}")
