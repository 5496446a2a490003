"""Healthy readings pass through; what events touch comes out changed and labelled."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.events import Cause, Event, Kind
from firmware_sim.core.physics import Water, rounded
from firmware_sim.core.readings import Readings

_SPIKE_MS: Final = 1_000  # one reading of a sensor at 1 Hz


class Disturbance:
    """All events of a run, found by time."""

    def __init__(self, water: Water, events: list[Event]) -> None:
        """Take the healthy water, and events in any order, at most one a sensor at a time."""
        self._water = water
        self._events = events
        self._start_ms = np.array([event.start_ms for event in events], np.int64)
        self._end_ms = np.array([event.end_ms for event in events], np.int64)

    def __call__(self, healthy: Readings) -> Readings:
        """Return the readings as sent: changed, labelled, fewer where a probe is silent."""
        if not len(healthy):
            return healthy
        oldest, newest = healthy.observed_at_ms.min(), healthy.observed_at_ms.max()
        at_work = np.flatnonzero((self._start_ms <= newest) & (self._end_ms > oldest))
        values, label = healthy.values.copy(), healthy.label.copy()
        silent = np.zeros(len(healthy), bool)
        for event in (self._events[index] for index in at_work):
            rows = np.flatnonzero(
                (healthy.sensor_ids == event.sensor_id)
                & (healthy.observed_at_ms >= event.start_ms)
                & (healthy.observed_at_ms < event.end_ms)
            )
            metric = event.effect.metric
            values[rows, metric] = self._touched(
                event, healthy.observed_at_ms[rows], values[rows, metric]
            )
            label[rows] = event.number
            silent[rows] = event.cause is Cause.DROPOUT
        return replace(healthy, values=rounded(values), label=label).where(~silent)

    def _touched(
        self, event: Event, at_ms: NDArray[np.int64], healthy: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        level = event.effect.level
        lasted = (at_ms - event.start_ms) / (event.end_ms - event.start_ms)
        if event.effect.kind is Kind.CONTAMINATION:
            # The water's own trembling goes on: a flat line would be a stuck probe.
            return level + (healthy - self._before(event))
        match event.cause:
            case Cause.STUCK:
                return np.full(len(healthy), self._before(event))
            case Cause.IMPOSSIBLE:
                return np.full(len(healthy), level)
            case Cause.DRIFT:
                return healthy + level * lasted
            case Cause.SPIKE:
                return np.where(at_ms < event.start_ms + _SPIKE_MS, healthy + level, healthy)
            case _:
                return healthy + level

    def _before(self, event: Event) -> float:
        """Return what the healthy probe showed when the event began."""
        instant = np.array([event.start_ms], np.int64)
        before = self._water.values(np.array([event.sensor_id], np.int64), instant)
        return float(before[0, event.effect.metric])
