"""Batches as virtual hubs would seal them, made before the clock starts."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.physics import Water
from wire.batch import Batch, Seal
from wire.codec import encode
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence
from wire.limits import READINGS_PER_BATCH_MAX
from wire.metric import METRICS

_SWELLS: Final = (
    32  # distinct stretches of water; later batches repeat their values, not their keys
)


@dataclass(frozen=True, slots=True)
class Load:
    """What every virtual hub sends.

    Attributes:
        sensors: Of each hub; each batch holds some consecutive seconds of all of them.
        rows: In a batch: a multiple of ``sensors``, at most 1,000.
        metrics: Measured by each sensor, from 1 on.
        first_sensor_id: Of the first hub; the ids of all hubs follow on.
        start_ms: Observed time of every hub's first reading.
    """

    sensors: int
    rows: int
    metrics: int
    first_sensor_id: int
    start_ms: int

    def __post_init__(self) -> None:
        """Refuse what no batch could hold.

        Raises:
            ValueError: Says what does not fit.
        """
        if not 1 <= self.rows <= READINGS_PER_BATCH_MAX or self.rows % self.sensors:
            raise ValueError(
                f"{self.rows} rows: at most {READINGS_PER_BATCH_MAX}, whole seconds of "
                f"{self.sensors} sensors"
            )


def sealed(
    load: Load, water: Water, hub: tuple[int, HubId, Region], epoch: Epoch, batches: int
) -> list[bytes]:
    """Return one hub's batches, encoded, sequences 0, 1, 2...

    Args:
        load: What is in them.
        water: What is measured.
        hub: Its number among the hubs, its id, its region.
        epoch: Never used before by this hub.
        batches: How many.
    """
    number, hub_id, region = hub
    first = load.first_sensor_id + number * load.sensors
    seconds = load.rows // load.sensors
    sensor_ids = np.repeat(np.arange(first, first + load.sensors, dtype=np.int64), seconds)
    second = np.tile(np.arange(seconds, dtype=np.int64), load.sensors)
    swells: list[NDArray[np.float32]] = []
    bodies: list[bytes] = []
    for sequence in range(batches):
        at_ms = load.start_ms + (sequence * seconds + second) * 1_000
        if sequence < _SWELLS:
            swells.append(_measured(water, sensor_ids, at_ms, load.metrics))
        batch = Batch(
            Seal(BatchKey(hub_id, epoch, Sequence(sequence)), region),
            sensor_ids,
            at_ms,
            swells[sequence % len(swells)],
            quality=np.zeros(load.rows, np.int16),
            score=np.full(load.rows, np.nan, np.float32),
            samples=np.ones(load.rows, np.int32),
        )
        bodies.append(encode(batch))
    return bodies


def _measured(
    water: Water,
    sensor_ids: NDArray[np.int64],
    at_ms: NDArray[np.int64],
    metrics: int,
) -> NDArray[np.float32]:
    values = water.values(sensor_ids, at_ms).astype(np.float32)
    measured = np.flatnonzero(~np.isnan(values[0]))[:metrics]
    kept = np.full((len(sensor_ids), METRICS), np.nan, np.float32)
    kept[:, measured] = values[:, measured]
    return kept
