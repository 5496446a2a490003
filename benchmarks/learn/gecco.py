"""A labelled record as sensors see it: features of every row, and which rows were events."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.readings import joined
from firmware_sim.core.record import Count, blocks, parse_map
from water.features import Parameters, blank, observe

_TRUE: Final = ("1", "true")


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A record with its labels, a row an instant.

    Attributes:
        at_ms: int64, shape ``(n,)``, rising.
        event: bool, shape ``(n,)``.
        values: float32, shape ``(sensors, n, METRICS)``, NaN where nothing was measured.
    """

    at_ms: NDArray[np.int64]
    event: NDArray[np.bool_]
    values: NDArray[np.float32]


def read(data: Path, labels: Path, record_map: Path) -> Record:
    """Return a record; the rows of both files are the same, in the same order."""
    mapped = parse_map(record_map.read_text())
    with _lines(labels) as lines:
        marks = list(csv.DictReader(lines))
    texts = np.array([mark[mapped.time_column] for mark in marks])
    at_ms = texts.astype("datetime64[ms]").astype(np.int64)
    event = np.array([mark["EVENT"].strip().lower() in _TRUE for mark in marks])
    with _lines(data) as lines:
        found = joined(list(blocks(lines, mapped, 0, Count())))
    values = np.full((len(mapped.sensors), len(at_ms), found.values.shape[1]), np.nan, np.float32)
    values[found.sensor_ids, np.searchsorted(at_ms, found.observed_at_ms)] = found.values
    return Record(at_ms, event, values)


def features(record: Record, told: Parameters) -> NDArray[np.float32]:
    """Return what a hub would hand its model, shape ``(sensors, n, width)``; NaN where nothing."""
    sensors, n, _ = record.values.shape
    found = np.full((sensors, n, told.width), np.nan, np.float32)
    heard = ~np.isnan(record.values).all(axis=2)
    whose, row = np.nonzero(heard)
    before = blank(sensors, len(told.memory_ms))
    found[heard] = observe(before, whose, record.at_ms[row], record.values[heard], told).features
    return found


def _lines(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", newline=""))
    return path.open(newline="")
