"""A small network of dense layers, trained in numpy: the same seed gives the same weights."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from water.model import Layer

Floats = NDArray[np.float64]

_BETA: Final = (0.9, 0.999)
_EPSILON: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Training:
    """How it is trained.

    Attributes:
        hidden: Widths of the hidden layers.
        seed: Of weights and order.
        epochs: Passes over the rows.
        rows_a_step: Rows a gradient is taken over.
        rate: Of learning, falling to zero over the epochs.
        decay: Pull of every weight towards zero, relative to its gradient.
    """

    hidden: tuple[int, ...] = (16, 8)
    seed: int = 1
    epochs: int = 8
    rows_a_step: int = 512
    rate: float = 3e-3
    decay: float = 1e-3


def train(
    features: NDArray[np.float32], wanted: NDArray[np.bool_], told: Training
) -> tuple[Layer, ...]:
    """Return the layers that tell ``wanted`` rows from others (logistic loss, Adam).

    Features are standardised while training; the layers returned take them as they are.

    Args:
        features: Shape ``(n, width)``, finite.
        wanted: Shape ``(n,)``.
        told: How.
    """
    rng = np.random.default_rng(told.seed)
    x, y = features.astype(np.float64), wanted.astype(np.float64)
    middle, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    x = (x - middle) / spread
    widths = (x.shape[1], *told.hidden, 1)
    numbers: list[Floats] = []
    for inputs, outputs in pairwise(widths):
        numbers += [rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs)), np.zeros(outputs)]
    moments = [np.zeros((2, *part.shape)) for part in numbers]
    steps = told.epochs * (len(x) // told.rows_a_step)
    order = rng.permuted(np.tile(np.arange(len(x)), (told.epochs, 1)), axis=1).ravel()
    for step in range(steps):
        some = order[step * told.rows_a_step : (step + 1) * told.rows_a_step]
        slopes = _slopes(numbers, x[some], y[some])
        rate = told.rate * (1 - step / steps)
        for part, moment, slope in zip(numbers, moments, slopes, strict=True):
            _adam(part, moment, slope + told.decay * part, step + 1, rate)
    numbers[0] /= spread[:, None]
    numbers[1] -= middle @ numbers[0]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(Layer(w.astype(np.float32), b.astype(np.float32)) for w, b in pairs)


def _slopes(numbers: list[Floats], x: Floats, y: Floats) -> list[Floats]:
    """Return the gradient of the mean logistic loss, a part for each of ``numbers``."""
    outputs = [x]
    for weights, bias in zip(numbers[:-2:2], numbers[1:-2:2], strict=True):
        outputs.append(np.maximum(outputs[-1] @ weights + bias, 0))
    logit = (outputs[-1] @ numbers[-2] + numbers[-1])[:, 0]
    slope = (((1 + np.tanh(logit / 2)) / 2 - y) / len(y))[:, None]
    slopes: list[Floats] = []
    for at in range(len(numbers) - 2, -1, -2):
        values = outputs.pop()
        slopes[:0] = [values.T @ slope, slope.sum(axis=0)]
        slope = (slope @ numbers[at].T) * (values > 0)
    return slopes


def _adam(part: Floats, moment: Floats, slope: Floats, step: int, rate: float) -> None:
    for held, beta, new in zip(moment, _BETA, (slope, slope**2), strict=True):
        held += (1 - beta) * (new - held)
    first, second = (held / (1 - beta**step) for held, beta in zip(moment, _BETA, strict=True))
    part -= rate * first / (np.sqrt(second) + _EPSILON)
