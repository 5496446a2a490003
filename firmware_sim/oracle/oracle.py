"""One pass over the ledger to learn who is in it, then group by group against the store."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.alerting import AlertVerdict, Expected, compare_alerts
from firmware_sim.core.comparison import Made, Verdict, compare_rows
from firmware_sim.core.events import Kind
from firmware_sim.core.ledger import ChunkKind, Entries, chunks, unpack_readings
from firmware_sim.core.readings import NO_EVENT
from firmware_sim.core.windows import compare_windows
from firmware_sim.ports import Store

ROWS_PER_GROUP: Final = 1_000_000


@dataclass(slots=True)
class Summary:
    """Who and what is in a ledger.

    Attributes:
        readings_of: Sensor to how many of its readings.
        events: Every labelled event as it was written.
        readings_in: Event number to how many readings it touched.
        notes: Every remark.
        committed: Readings their sensors know to be committed.
    """

    readings_of: dict[int, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    readings_in: dict[int, int] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    committed: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything the oracle has to say."""

    readings: Verdict
    alerts: AlertVerdict
    notes: list[dict[str, Any]]

    def as_json(self) -> dict[str, object]:
        """Return the verdict as one flat object."""
        counts = {
            name: getattr(part, name)
            for part in (self.readings, self.alerts)
            for name in part.__slots__
            if name != "examples"
        }
        examples = [
            {"what": what, "sensor_id": sensor_id, "observed_at_ms": at_ms}
            for what, sensor_id, at_ms in self.readings.examples
        ]
        return {**counts, "examples": examples, "notes": self.notes}


async def judge(
    ledger: Path, store: Store, window_ms: int = 0, rows_per_group: int = ROWS_PER_GROUP
) -> Judgement:
    """Compare a ledger, which may still be growing, with the store.

    Args:
        ledger: Written by a fleet, a flood or a replay.
        store: The database.
        window_ms: Length of the hubs' windows; 0 = they send every reading.
        rows_per_group: Readings compared at once: bounds the memory.

    Raises:
        InfrastructureError: The store cannot answer just now.
    """
    summary = summarise(ledger)
    verdict, sheds = Verdict(), await store.sheds()
    for sensors in _groups(summary.readings_of, rows_per_group):
        span = (int(sensors[0]), int(sensors[-1]))
        made = _made(ledger, *span)
        stored, refused = await store.stored(*span), await store.refused(*span)
        verdict += (
            compare_windows(made, stored, refused, window_ms, sheds)
            if window_ms
            else compare_rows(made, stored, refused, sheds)
        )
        verdict += Verdict(conflicting=await store.conflicts(*span))
    known = sorted(summary.readings_of)
    alerts = await store.alerts(known[0], known[-1]) if known else []
    expected = [_expected(event, summary.readings_in) for event in summary.events]
    judged = compare_alerts(expected, alerts, window_ms)
    return Judgement(verdict, judged, summary.notes)


def summarise(ledger: Path) -> Summary:
    """Return who and what is in a ledger."""
    summary = Summary()
    with ledger.open("rb") as file:
        for kind, body in chunks(file):
            match kind:
                case ChunkKind.READINGS:
                    made = unpack_readings(body).readings
                    _count(summary.readings_of, made.sensor_ids)
                    _count(summary.readings_in, made.label[made.label != NO_EVENT])
                case ChunkKind.COMMITTED:
                    summary.committed += len(body) // 8
                case ChunkKind.EVENT:
                    summary.events.append(json.loads(body))
                case ChunkKind.NOTE:
                    summary.notes.append(json.loads(body))
    return summary


def _count(counts: dict[int, int], of: NDArray[np.integer[Any]]) -> None:
    for key, times in zip(*map(np.ndarray.tolist, np.unique(of, return_counts=True)), strict=True):
        counts[key] = counts.get(key, 0) + times


def _groups(readings_of: dict[int, int], rows: int) -> Iterator[NDArray[np.int64]]:
    """Yield runs of sensors, ascending, with about ``rows`` readings each."""
    if not readings_of:
        return
    sensors = np.array(sorted(readings_of), np.int64)
    seen = np.cumsum([readings_of[sensor] for sensor in sensors.tolist()])
    yield from np.split(sensors, np.flatnonzero(np.diff(seen // rows)) + 1)


def _made(ledger: Path, first_sensor: int, last_sensor: int) -> Made:
    """Read a group's readings; the parts of a growing ledger written since are left out."""
    parts: list[Entries] = []
    with ledger.open("rb") as file:
        for kind, body in chunks(file):
            if kind is ChunkKind.READINGS:
                entries = unpack_readings(body)
                ids = entries.readings.sensor_ids
                wanted = (ids >= first_sensor) & (ids <= last_sensor)
                parts.append(
                    Entries(entries.readings.where(wanted), entries.published_at_ms[wanted])
                )
    return Made(
        np.concatenate([part.readings.sensor_ids for part in parts]),
        np.concatenate([part.readings.observed_at_ms for part in parts]),
        np.concatenate([part.readings.values.astype(np.float32) for part in parts]),
        np.concatenate([part.readings.kept for part in parts]),
    )


def _expected(event: dict[str, Any], readings_in: dict[int, int]) -> Expected:
    return Expected(
        event["sensor_id"],
        event["metric"],
        event["start_ms"],
        event["end_ms"],
        event["alerts"],
        readings_in.get(event["number"], 0),
        Kind(event["kind"]),
    )
