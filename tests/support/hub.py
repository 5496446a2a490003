"""A hub's durable half for tests: a spool on a real file, and messages to feed it."""

import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.adapters.spool import SpoolSettings, SqliteSpool
from edge_agent.adapters.sqlite import connect as plainly
from edge_agent.collect import Collector, CollectSettings, Committed
from edge_agent.core.clock import Now
from water.bands import bands
from water.screening import plausible
from wire import codec
from wire.batch import Batch, Kind, Tombstone
from wire.ids import BatchKey, HubId, Region, UnixMs
from wire.limits import MIB
from wire.metric import METRICS, Metric
from wire.reading import NO_TIME, SensorMessage

HUB = HubId("hub-1")
START_MS = 1_700_000_000_000
"""A whole number of ten-second windows."""
assert START_MS % 10_000 == 0


class Killed(BaseException):
    """The process died here."""


class DyingConnection(sqlite3.Connection):
    """Dies before, or right after, its n-th statement; then everything else is as it was."""

    left = -1
    afterwards = False

    def _count(self) -> bool:
        type(self).left -= 1
        return type(self).left == -1

    def execute(self, *args: Any) -> sqlite3.Cursor:
        dies = self._count()
        if dies and not self.afterwards:
            raise Killed
        cursor = super().execute(*args)
        if dies:
            raise Killed
        return cursor

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        if self._count():
            raise Killed
        return super().executemany(*args)


def dying(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, factory=DyingConnection)


def spool_at(
    folder: Path,
    *,
    seed: int | None = None,
    bytes_max: int = 64 * MIB,
    floor_ms: int | None = None,
    connect: Callable[[Path], sqlite3.Connection] = plainly,
    free_bytes: Callable[[Path], int] = lambda _: 2**40,
) -> SqliteSpool:
    settings = SpoolSettings(
        folder,
        HUB,
        Region("north"),
        bytes_max,
        None if floor_ms is None else UnixMs(floor_ms),
    )
    source = random.SystemRandom() if seed is None else random.Random(seed)
    return SqliteSpool(settings, source.getrandbits, connect=connect, free_bytes=free_bytes)


def collector_on(spool: SqliteSpool, steady_ms: int = 0, **settings: Any) -> Collector:
    told = CollectSettings(**{"boot": "boot-1", **settings})
    return Collector(spool, told, bands(), plausible(), at(steady_ms))


def at(steady_ms: int) -> Now:
    """Return a moment by clocks that are right."""
    return Now(START_MS + steady_ms, steady_ms)


def message(readings: Sequence[tuple[int, int | None, float]]) -> SensorMessage:
    """Return one message of (sensor, ms after START_MS or None, pH)."""
    values = np.full((len(readings), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = [ph for *_, ph in readings]
    return SensorMessage(
        np.array([sensor for sensor, *_ in readings], np.int64),
        np.array([NO_TIME if t is None else START_MS + t for _, t, _ in readings], np.int64),
        values,
        np.zeros(len(readings), np.int16),
    )


def heavy(rng: np.random.Generator, sensors: int, ms: int) -> SensorMessage:
    """Return one reading of each sensor, calm water in every metric, that compresses badly."""
    light = message([(sensor, ms, 7.0) for sensor in range(sensors)])
    calm = np.array([7, 0.5, 8, 15, 500, 300, 1, 0.4, 3, 0.5, 5, 5, 300, 2])
    values = calm * rng.uniform(0.98, 1.02, (sensors, METRICS))
    return SensorMessage(
        light.sensor_ids, light.observed_at_ms, values.astype(np.float32), light.refused_values
    )


def feed_heavy(collector: Collector, rng: np.random.Generator, sensors: int, ms: int) -> Committed:
    """Absorb and commit one such message, sent at once."""
    collector.absorb(heavy(rng, sensors, ms), at(ms))
    return collector.commit(at(ms))


def feed(
    collector: Collector, readings: Sequence[tuple[int, int | None, float]], steady_ms: int
) -> Committed:
    """Absorb one message and commit it."""
    if readings:
        collector.absorb(message(readings), at(steady_ms))
    return collector.commit(at(steady_ms))


def contents(spool: SqliteSpool) -> list[Batch | Tombstone]:
    """Return every batch in the spool, by epoch and sequence."""
    keys = sorted(spooled.key for spooled in spool.waiting(1_000_000, ()))
    bodies = [spool.body(BatchKey(*key)) for key in keys]
    return [codec.decode(body) for body in bodies if body is not None]


def rows_of(
    batches: Sequence[Batch | Tombstone], kind: Kind = Kind.ROUTINE
) -> list[tuple[int, int, int]]:
    """Return (sensor, ms after START_MS, samples) of all rows of a kind, sorted."""
    return sorted(
        row
        for batch in batches
        if isinstance(batch, Batch) and batch.seal.kind is kind
        for row in zip(
            batch.sensor_ids.tolist(),
            (batch.observed_at_ms - START_MS).tolist(),
            batch.samples.tolist(),
            strict=True,
        )
    )
