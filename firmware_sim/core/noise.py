"""Noise without memory: the same seed, sensor, channel and step always give the same number.

So a run is reproducible, two processes can simulate halves of one fleet, and the water of a
sensor does not depend on which others are simulated beside it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_LANE: Final = np.uint64(0xFFFF)

AR_PHI: Final = 0.6
_AR_TERMS: Final = 8  # what is cut off is 0.6**8 = 1.7 % of one draw
_AR_WEIGHTS: Final = AR_PHI ** np.arange(_AR_TERMS)
_AR_SCALE: Final = float(1 / np.sqrt((_AR_WEIGHTS**2).sum()))


def bits(seed: int, *keys: NDArray[np.int64] | int) -> Bits:
    """Return 64 well-mixed bits for every combination of keys (splitmix64's finaliser, chained).

    Args:
        seed: Of the run.
        keys: int64 scalars or arrays that broadcast against each other.
    """
    with np.errstate(over="ignore"):
        state = _mixed(np.asarray(seed).astype(np.uint64) + _GOLDEN)
        for key in keys:
            state = _mixed((state ^ np.asarray(key).astype(np.uint64)) + _GOLDEN)
    return state


def uniform(seed: int, *keys: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return numbers in ``[0, 1)``."""
    return np.asarray((bits(seed, *keys) >> np.uint64(11)).astype(np.float64) / 2.0**53)


def normal(seed: int, *keys: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return numbers of mean 0 and deviation 1, never beyond 3.47 (a sum of four uniforms)."""
    drawn = bits(seed, *keys)
    total = np.zeros(drawn.shape)
    for shift in (0, 16, 32, 48):
        total += ((drawn >> np.uint64(shift)) & _LANE).astype(np.float64)
    return np.asarray((total / 65_536.0 - 2.0) * np.sqrt(3.0))


def autoregressive(
    seed: int, sensor_ids: NDArray[np.int64], channels: NDArray[np.int64], step: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return AR(1) noise of mean 0, deviation 1 and coefficient ``AR_PHI`` at whole steps.

    Args:
        seed: Of the run.
        sensor_ids: int64, shape ``(n,)``.
        channels: int64, shape ``(k,)``: what is being disturbed; channels are independent.
        step: int64, shape ``(n,)``, number of the step in time.

    Returns:
        Shape ``(n, k)``.
    """
    past = step[:, None, None] - np.arange(_AR_TERMS)
    shocks = normal(seed, sensor_ids[:, None, None], channels[:, None], past)
    return np.asarray(shocks @ _AR_WEIGHTS * _AR_SCALE)


def wander(
    seed: int,
    sensor_ids: NDArray[np.int64],
    channels: NDArray[np.int64],
    at_ms: NDArray[np.int64],
    period_ms: int,
) -> NDArray[np.float64]:
    """Return a smooth walk through one normal draw a period: slow change without steps.

    Returns:
        Shape ``(n, k)``, mean 0, deviation at most 1.
    """
    knot, within = np.divmod(at_ms[:, None], period_ms)
    share = within / period_ms
    ease = share * share * (3.0 - 2.0 * share)
    before = normal(seed, sensor_ids[:, None], channels, knot)
    after = normal(seed, sensor_ids[:, None], channels, knot + 1)
    return np.asarray(before + (after - before) * ease)


def _mixed(state: Bits) -> Bits:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return np.asarray(state ^ (state >> np.uint64(31)))
