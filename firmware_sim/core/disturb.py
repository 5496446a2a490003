"""Healthy readings pass through; what events touch comes out changed and labelled."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.events import Cause, Event, Kind
from firmware_sim.core.physics import Water, rounded
from firmware_sim.core.readings import Readings

_SPIKE_MS: Final = 1_000  # one reading of a sensor at 1 Hz


def disturbed(healthy: Readings, events: list[Event], water: Water) -> Readings:
    """Return the readings as sent: changed, labelled, fewer where a probe is silent.

    Args:
        healthy: What good probes in good water would say.
        events: What goes wrong meanwhile, at most one a sensor at a time.
        water: The same that ``healthy`` was measured in.
    """
    values, label = healthy.values.copy(), healthy.label.copy()
    silent = np.zeros(len(healthy), bool)
    for event in events:
        rows = np.flatnonzero(
            (healthy.sensor_ids == event.sensor_id)
            & (healthy.observed_at_ms >= event.start_ms)
            & (healthy.observed_at_ms < event.end_ms)
        )
        if not len(rows):
            continue
        metric = event.effect.metric
        values[rows, metric] = _touched(
            event, healthy.observed_at_ms[rows], values[rows, metric], water
        )
        label[rows] = event.number
        silent[rows] = event.cause is Cause.DROPOUT
    return replace(healthy, values=rounded(values), label=label).where(~silent)


def _touched(
    event: Event, at_ms: NDArray[np.int64], healthy: NDArray[np.float64], water: Water
) -> NDArray[np.float64]:
    level = event.effect.level
    lasted = (at_ms - event.start_ms) / (event.end_ms - event.start_ms)
    if event.effect.kind is Kind.CONTAMINATION:
        # The water's own trembling goes on: a flat line would be a stuck probe.
        return level + (healthy - _before(event, water))
    match event.cause:
        case Cause.STUCK:
            return np.full(len(healthy), _before(event, water))
        case Cause.IMPOSSIBLE:
            return np.full(len(healthy), level)
        case Cause.DRIFT:
            return healthy + level * lasted
        case Cause.SPIKE:
            return np.where(at_ms < event.start_ms + _SPIKE_MS, healthy + level, healthy)
        case _:
            return healthy + level


def _before(event: Event, water: Water) -> float:
    """Return what the healthy probe showed when the event began."""
    instant = np.array([event.start_ms], np.int64)
    before = water.values(np.array([event.sensor_id], np.int64), instant)
    return float(before[0, event.effect.metric])
