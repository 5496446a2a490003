"""Simulated probes that break are found to be broken, and healthy ones in healthy water are not."""

import numpy as np
import pytest

from cloud.core.detect import Detector
from cloud.core.detect_bands import BandBook
from cloud.core.detect_rows import as_rows
from cloud.core.detect_state import HubState
from firmware_sim.core.disturb import disturbed
from firmware_sim.core.events import EFFECTS, Cause, Event
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.readings import readings
from water.finding import Finding, kind_of
from wire.ids import UnixMs
from wire.metric import impossible
from wire.quality import Quality

START_MS = 1_767_268_800_000
BROKEN_MS = START_MS + 300_000  # as the simulator does: a probe must have been seen to move
SENSORS = 8
SLICE_S = 100


def found_in(seconds: int, seed: int, *events: Event) -> list[Finding]:
    """Return what detection finds in readings a second apart, sent as a hub without windows."""
    water, found = Water(PROFILES[ProfileName.DRINKING], seed), []
    detector = Detector(HubState(), BandBook())
    for low in range(0, seconds, SLICE_S):
        sensor_ids = np.repeat(np.arange(SENSORS), SLICE_S)
        at_ms = START_MS + np.tile(np.arange(low, low + SLICE_S) * 1_000, SENSORS)
        made = disturbed(
            readings(sensor_ids, at_ms, water.values(sensor_ids, at_ms)), list(events), water
        )
        values = made.values.astype(np.float32)
        bad = impossible(values)
        values[bad] = np.nan
        marks = np.where(bad.any(axis=1), np.int16(Quality.REFUSED_VALUE), np.int16(0))
        rows = as_rows(
            made.sensor_ids, made.observed_at_ms, values, marks, np.ones(len(marks)), history=False
        )
        found += detector.evaluate(rows, UnixMs(int(at_ms.max())))
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_healthy_water_raises_nothing_for_hours(seed: int) -> None:
    assert found_in(2 * 3_600, seed) == []


@pytest.mark.parametrize("cause", [Cause.STUCK, Cause.SPIKE, Cause.IMPOSSIBLE])
def test_a_broken_probe_is_a_sensor_fault_and_nothing_else(cause: Cause) -> None:
    lasts_ms = max(10_000, EFFECTS[cause].lasts_ms_min)
    event = Event(0, 3, cause, BROKEN_MS, BROKEN_MS + lasts_ms)
    begun = [finding for finding in found_in(600, 5, event) if not finding.ended]
    assert begun
    for finding in begun:
        assert kind_of(finding.cause) == "sensor_fault"
        assert finding.sensor_id == 3
        assert event.start_ms <= finding.observed_at_ms < event.end_ms


@pytest.mark.parametrize("cause", [Cause.DRIFT, Cause.DROPOUT, Cause.CALIBRATION])
def test_a_fault_too_gentle_to_be_seen_at_once_is_no_contamination(cause: Cause) -> None:
    event = Event(0, 3, cause, START_MS + 60_000, START_MS + 70_000)
    assert found_in(200, 5, event) == []
