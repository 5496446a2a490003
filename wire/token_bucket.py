"""A token bucket per sensor, decided for many readings at once."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S

EMPTY_AT_MS: Final = -(2**62)


@dataclass(frozen=True, slots=True, eq=False)
class Admission:
    """What became of each request.

    Attributes:
        admitted: bool, shape ``(n,)``.
        retry_after_ms: int64, shape ``(n,)``: how long the refused must wait; 0 for the admitted.
        due_ms: int64, shape ``(m,)``: the buckets afterwards.
    """

    admitted: NDArray[np.bool_]
    retry_after_ms: NDArray[np.int64]
    due_ms: NDArray[np.int64]


def admit(
    due_ms: NDArray[np.int64],
    bucket: NDArray[np.intp],
    at_ms: NDArray[np.int64],
    *,
    rate_per_s: float = SENSOR_RATE_PER_S,
    burst: int = SENSOR_BURST,
) -> Admission:
    """Spend one token per admitted request.

    The generic cell rate algorithm (ITU-T I.371), which is a token bucket as one number: the
    instant at which the bucket will be full again. No interval of length ``t`` admits more than
    ``burst + rate_per_s * t`` requests. A time before the bucket's earns nothing.

    Args:
        due_ms: int64, shape ``(m,)``: when each bucket is full again; ``EMPTY_AT_MS`` if unused.
        bucket: Shape ``(n,)``: whose token each request takes, an index into ``due_ms``.
        at_ms: int64, shape ``(n,)``: when; within one bucket in the order given.
        rate_per_s: Tokens a second.
        burst: Tokens a full bucket holds.
    """
    cost_ms = round(1_000 / rate_per_s)
    slack_ms = (burst - 1) * cost_ms
    due_ms = due_ms.copy()
    admitted = np.zeros(len(bucket), np.bool_)
    retry_after_ms = np.zeros(len(bucket), np.int64)
    for turn in _turns(bucket):
        whose, at = bucket[turn], at_ms[turn]
        wait = due_ms[whose] - slack_ms - at
        passes = wait <= 0
        admitted[turn] = passes
        retry_after_ms[turn] = np.maximum(wait, 0)
        due_ms[whose[passes]] = np.maximum(due_ms[whose[passes]], at[passes]) + cost_ms
    return Admission(admitted, retry_after_ms, due_ms)


def _turns(bucket: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return index sets in each of which no bucket occurs twice; earlier requests come earlier."""
    if not len(bucket):
        return []
    order = np.argsort(bucket, kind="stable")
    whose = bucket[order]
    if not (whose[1:] == whose[:-1]).any():
        return [order]
    rank = np.arange(len(whose)) - np.searchsorted(whose, whose)
    by_turn = order[np.argsort(rank, kind="stable")]
    return np.split(by_turn, np.cumsum(np.bincount(rank))[:-1])
