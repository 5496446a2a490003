"""Sensors that speak faster than they may: which of their readings a hub may turn away.

A hub does not name what it throttles, and what it throttles depends on the order of arrival. But it
turns a reading away only where it has taken as much as a token bucket allows, and that shows.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S
from wire.token_bucket import EMPTY_AT_MS, admit

COST_MS: Final = round(1_000 / SENSOR_RATE_PER_S)
_FAR: Final = 2**62


def crowded(
    sensor_ids: NDArray[np.int64], at_ms: NDArray[np.int64], taken: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which readings the others of their sensor that were taken leave no token for.

    A reading is crowded if some span of time around it, of ``t`` seconds, holds, itself included,
    more than ``SENSOR_BURST + SENSOR_RATE_PER_S * t`` readings taken.

    Args:
        sensor_ids: int64, shape ``(n,)``.
        at_ms: int64, shape ``(n,)``; no instant of a sensor twice.
        taken: bool, shape ``(n,)``.
    """
    found = np.zeros(len(at_ms), np.bool_)
    if not len(at_ms):
        return found
    order = np.lexsort((at_ms, sensor_ids))
    apart_ms = int(np.ptp(at_ms)) + (len(at_ms) + 1) * COST_MS  # nothing reaches the next sensor
    _, place = np.unique(sensor_ids[order], return_inverse=True)
    time_ms = at_ms[order] - at_ms.min() + place * apart_ms
    ours = taken[order]
    before = (np.cumsum(ours) - ours) * COST_MS
    after = before + ours * COST_MS
    starts = np.minimum.accumulate(np.where(ours, before - time_ms, _FAR))
    ends = np.maximum.accumulate(np.where(ours, after - time_ms, -_FAR)[::-1])[::-1]
    # Earlier readings' tokens less the time since, and later ones' less the time until.
    earlier = before - time_ms - np.minimum(starts, before - time_ms)
    later = np.maximum(ends, after - time_ms) - (after - time_ms)
    found[order] = earlier + later > (SENSOR_BURST - 1) * COST_MS
    return found


def turned_away(sensor_ids: NDArray[np.int64], at_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which readings a hub turns away that hears each sensor in the order of time.

    Arguments as for ``crowded``. In another order it takes at most ``SENSOR_BURST`` fewer of any
    stretch of time.
    """
    order = np.lexsort((at_ms, sensor_ids))
    sensors, bucket = np.unique(sensor_ids[order], return_inverse=True)
    full_ms = np.full(len(sensors), EMPTY_AT_MS, np.int64)
    refused = np.zeros(len(at_ms), np.bool_)
    refused[order] = ~admit(full_ms, bucket, at_ms[order]).admitted
    return refused
