"""Short names for ordinary things, so a test says only what is unusual about its case."""

import numpy as np
from numpy.typing import ArrayLike

from wire.batch import Batch, Flag, Kind, Seal, Tombstone
from wire.codec import quantise
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence, UnixMs
from wire.metric import METRICS, Metric

NOON = UnixMs(1_738_065_600_000)  # 2025-01-28T12:00:00Z
HUB = HubId("hub-1")
NORTH = Region("north")
EPOCH = Epoch(0x1234_5678_9ABC_DEF0)


def a_key(sequence: int = 0, *, hub: str = HUB, epoch: int = EPOCH) -> BatchKey:
    """Return a batch key of the usual hub."""
    return BatchKey(HubId(hub), Epoch(epoch), Sequence(sequence))


def a_seal(
    sequence: int = 0,
    *,
    hub: str = HUB,
    epoch: int = EPOCH,
    kind: Kind = Kind.ROUTINE,
    flags: Flag = Flag.NONE,
    floor_ms: int = 0,
    rows_lost: int = 0,
) -> Seal:
    """Return a header of the usual hub."""
    key = a_key(sequence, hub=hub, epoch=epoch)
    return Seal(key, NORTH, kind, flags, UnixMs(floor_ms), rows_lost)


def a_batch(
    sequence: int = 0,
    *,
    seal: Seal | None = None,
    sensors: ArrayLike = (1000,),
    times: ArrayLike = (NOON,),
    ph: ArrayLike = 7.0,
    samples: ArrayLike = 1,
    quality: ArrayLike = 0,
) -> Batch:
    """Return a healthy batch measuring pH only; array arguments are broadcast to one length."""
    columns = np.broadcast_arrays(
        *(np.atleast_1d(column) for column in (sensors, times, ph, samples, quality))
    )
    sensor_ids, observed_at_ms, ph_values, samples_, quality_ = columns
    values = np.full((len(sensor_ids), METRICS), np.nan, np.float32)
    values[:, Metric.PH] = ph_values
    return Batch(
        seal or a_seal(sequence),
        sensor_ids.astype(np.int64),
        observed_at_ms.astype(np.int64),
        quantise(values),
        quality_.astype(np.int16),
        np.full(len(sensor_ids), np.nan, np.float32),
        samples_.astype(np.int32),
    )


def a_tombstone(sequence: int = 9, *, low: int = 2, high: int = 5) -> Tombstone:
    """Return a tombstone of the usual hub that sheds ``[low, high)`` of its own epoch."""
    seal = a_seal(sequence, kind=Kind.SHED)
    later = UnixMs(NOON + 60_000)
    return Tombstone(seal, seal.key.epoch, low, high, NOON, later, 30, "spool at its cap")
