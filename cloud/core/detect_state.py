"""What detection remembers of one hub's sensors, as arrays, and as bytes between processes."""

import json
import zlib
from dataclasses import dataclass, field, fields
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_rows import COLUMNS
from water.rules import DEPTH

VERSION: Final = 2
SENSORS_PER_HUB_MAX: Final = 20_000
KEPT: Final = DEPTH - 1  # instants remembered; the newest comes with the batch
NEVER: Final = -1


class Open(IntFlag):
    """A bit for each cause that can be open. Append only: they are in snapshots."""

    LOW = 1
    HIGH = 2
    STUCK = 4
    SPIKE = 8


def _never(sensors: int) -> NDArray[np.int64]:
    return np.full(sensors, NEVER, np.int64)


@dataclass(slots=True, eq=False)
class Track:
    """The last instants of every series, and which causes are open.

    Sensors come last in every shape, so that a column moves on as a few whole rows.

    Attributes:
        last_ms: int64, shape ``(sensors,)``: last instant evaluated, ``NEVER`` before the first.
        values: float32, shape ``(COLUMNS, KEPT, sensors)``, oldest first, NaN where none.
        at_ms: int64, same shape: when.
        opened: uint8, shape ``(COLUMNS, sensors)``: a bit for each open cause.
    """

    last_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    at_ms: NDArray[np.int64]
    opened: NDArray[np.uint8]

    @classmethod
    def fresh(cls, sensors: int) -> "Track":
        """Return a track that has seen nothing."""
        shape = (COLUMNS, KEPT, sensors)
        return cls(
            _never(sensors),
            np.full(shape, np.nan, np.float32),
            np.zeros(shape, np.int64),
            np.zeros((COLUMNS, sensors), np.uint8),
        )

    def forget(self, places: NDArray[np.intp]) -> None:
        """Begin anew for these sensors."""
        self.last_ms[places] = NEVER
        self.values[..., places] = np.nan
        self.at_ms[..., places] = 0
        self.opened[..., places] = 0


@dataclass(slots=True, eq=False)
class Standing:
    """How long every probe has stood still, and how often it moves; int32 ``(COLUMNS, sensors)``.

    Attributes:
        run: Equal values up to and including the last.
        changes: Successive values that differed, ever.
        pairs: Successive values compared, ever.
    """

    run: NDArray[np.int32]
    changes: NDArray[np.int32]
    pairs: NDArray[np.int32]

    @classmethod
    def fresh(cls, sensors: int) -> "Standing":
        """Return the standing of probes never heard."""
        return cls(*(np.zeros((COLUMNS, sensors), np.int32) for _ in range(3)))


@dataclass(slots=True, eq=False)
class HubState:
    """Everything remembered of a hub. ``evaluate`` moves it on; nothing else does.

    Attributes:
        sensor_ids: int64, sorted.
        live: What has been evaluated in order of time.
        past: The historical path: late and backfilled readings, on their own.
        standing: Of the live series.
    """

    sensor_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    live: Track = field(default_factory=lambda: Track.fresh(0))
    past: Track = field(default_factory=lambda: Track.fresh(0))
    standing: Standing = field(default_factory=lambda: Standing.fresh(0))

    def __len__(self) -> int:
        """Return the number of sensors."""
        return len(self.sensor_ids)

    def places(self, sensor_ids: NDArray[np.int64]) -> NDArray[np.intp] | None:
        """Return where these sensors stand, shape as given; None if one has no place.

        Args:
            sensor_ids: Rising.
        """
        known, count = self.sensor_ids, len(sensor_ids)
        first = int(np.searchsorted(known, sensor_ids[0]))
        if np.array_equal(known[first : first + count], sensor_ids):  # as a hub reports them
            return np.arange(first, first + count)
        places = np.searchsorted(known, sensor_ids)
        there = places[-1] < len(known) and np.array_equal(known[places], sensor_ids)
        return places if there else None

    def admit(self, sensor_ids: NDArray[np.int64]) -> None:
        """Make room for sensors not seen before. Idempotent."""
        union = np.union1d(self.sensor_ids, sensor_ids)
        old = np.searchsorted(union, self.sensor_ids)
        for name, blank in (
            ("live", Track.fresh(len(union))),
            ("past", Track.fresh(len(union))),
            ("standing", Standing.fresh(len(union))),
        ):
            _scatter(getattr(self, name), blank, old)
            setattr(self, name, blank)
        self.sensor_ids = union

    def to_bytes(self) -> bytes:
        """Return a snapshot. Only columns and sensors that hold something are written.

        Measured values shrink by a fifth for ten times the work, so they go as they are.
        """
        columns = np.flatnonzero(~np.isnan(self.live.values[:, -1]).all(axis=1))
        heard = np.flatnonzero(self.past.last_ms != NEVER)
        everyone = np.arange(len(self))
        tracks = [
            *(a for a in _cut(self.live, everyone, columns)),
            *(a for a in _cut(self.standing, everyone, columns)),
            *(a for a in _cut(self.past, heard, np.arange(COLUMNS))),
        ]
        head = json.dumps([len(self), columns.tolist(), heard.tolist()]).encode()
        arrays = (self.sensor_ids, *tracks)
        plain = b"".join(array.tobytes() for array in arrays if array.dtype == np.float32)
        rest = b"".join(array.tobytes() for array in arrays if array.dtype != np.float32)
        packed = zlib.compress(len(head).to_bytes(4, "little") + head + rest, 1)
        return bytes([VERSION]) + len(plain).to_bytes(4, "little") + plain + packed

    @classmethod
    def from_bytes(cls, snapshot: bytes) -> "HubState":
        """Return what ``to_bytes`` wrote.

        Raises:
            ValueError: Another version wrote it, or it is damaged.
        """
        if snapshot[:1] != bytes([VERSION]):
            raise ValueError("another version's snapshot")
        try:
            plain = 5 + int.from_bytes(snapshot[1:5], "little")
            raw = zlib.decompress(snapshot[plain:])
            size = int.from_bytes(raw[:4], "little")
            sensors, columns, heard = json.loads(raw[4 : 4 + size])
        except zlib.error as exc:
            raise ValueError("a damaged snapshot") from exc
        if sensors > SENSORS_PER_HUB_MAX:
            raise ValueError("a snapshot of too many sensors")
        reader = _Reader(snapshot[5:plain], raw[4 + size :])
        state = cls()
        state.admit(reader.read(np.zeros(sensors, np.int64)))
        used = np.array(columns, np.intp)
        for part, places, chosen in (
            (state.live, np.arange(sensors), used),
            (state.standing, np.arange(sensors), used),
            (state.past, np.array(heard, np.intp), np.arange(COLUMNS)),
        ):
            for array in _arrays(part):
                where = _where(array, places, chosen)
                array[where] = reader.read(array[where])
        return state


def _arrays(part: Track | Standing) -> list[NDArray[Any]]:
    return [getattr(part, each.name) for each in fields(part)]


def _scatter(old: Track | Standing, blank: Track | Standing, places: NDArray[np.intp]) -> None:
    for source, target in zip(_arrays(old), _arrays(blank), strict=True):
        target[..., places] = source


def _cut(
    part: Track | Standing, places: NDArray[np.intp], columns: NDArray[np.intp]
) -> list[NDArray[Any]]:
    return [array[_where(array, places, columns)] for array in _arrays(part)]


def _where(array: NDArray[Any], places: NDArray[np.intp], columns: NDArray[np.intp]) -> Any:
    """Return the index of some sensors' part of some columns of one of the arrays."""
    if array.ndim == 1:
        return places
    if array.ndim == 2:
        return np.ix_(columns, places)
    return np.ix_(columns, np.arange(KEPT), places)


class _Reader:
    """Takes arrays off the front: floats from one part, all else from another."""

    def __init__(self, plain: bytes, rest: bytes) -> None:
        self._parts = {True: plain, False: rest}
        self._at = {True: 0, False: 0}

    def read(self, like: NDArray[Any]) -> NDArray[Any]:
        which = like.dtype == np.float32
        found = np.frombuffer(self._parts[which], like.dtype, like.size, self._at[which])
        self._at[which] += found.nbytes
        return found.reshape(like.shape)
