"""The newest reading of a sensor, from a small cache that is never more than a second behind."""

import zlib
from collections import OrderedDict
from dataclasses import dataclass

from cloud.read.limits import LATEST_ENTRIES_MAX, LATEST_TTL_MS
from cloud.read.ports import ReadingReader
from cloud.read.text import as_latest, dump
from wire.clock import Clock
from wire.ids import SensorId


@dataclass(frozen=True, slots=True)
class Answer:
    """A body ready to send.

    Attributes:
        body: JSON.
        etag: Changes whenever the body does.
    """

    body: bytes
    etag: str


class Latest:
    """Newest readings, each asked of the store at most once a second."""

    def __init__(self, readings: ReadingReader, clock: Clock) -> None:
        """Start empty."""
        self._readings = readings
        self._clock = clock
        self._kept: OrderedDict[SensorId, tuple[int, Answer | None]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many sensors are cached, at most ``LATEST_ENTRIES_MAX``."""
        return len(self._kept)

    async def of(self, sensor_id: SensorId) -> Answer | None:
        """Return the newest reading, at most ``LATEST_TTL_MS`` old news; None if there is none.

        Raises:
            InfrastructureError: It is not cached and the store is away.
        """
        now_ms = self._clock.steady_ms()
        kept = self._kept.get(sensor_id)
        if kept is not None and now_ms < kept[0]:
            return kept[1]
        reading = await self._readings.latest(sensor_id)
        answer = None
        if reading is not None:
            body = dump(as_latest(reading))
            answer = Answer(body, f'"{zlib.crc32(body):08x}"')
        # Old news counts from when we asked: the answer may have been true only then.
        self._kept[sensor_id] = (now_ms + LATEST_TTL_MS, answer)
        self._kept.move_to_end(sensor_id)
        if len(self._kept) > LATEST_ENTRIES_MAX:
            self._kept.popitem(last=False)
        return answer
