"""The cache before the store: never old, never large."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from cloud.core.views import Reading
from cloud.read import limits
from cloud.read.history import Form, history
from cloud.read.latest import Latest
from cloud.read.text import as_latest, iso, marks
from wire.ids import SensorId, UnixMs
from wire.metric import METRICS
from wire.quality import Quality

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> UnixMs:
        return UnixMs(self.ms)

    def steady_ms(self) -> int:
        return self.ms

    async def sleep_ms(self, wait_ms: int) -> None:
        self.ms += wait_ms


def reading(at: datetime, ph: float | None = 7.1, quality: int = 0) -> Reading:
    return (at, ph, *[None] * (METRICS - 1), quality, None, 10)


class Shelf:
    """Readings in memory; counts how often it is asked."""

    def __init__(self, rows: Sequence[Reading] = ()) -> None:
        self.rows = list(rows)
        self.asked = 0

    async def latest(self, sensor_id: SensorId) -> Reading | None:
        self.asked += 1
        return self.rows[-1] if self.rows else None

    async def readings(
        self, sensor_id: SensorId, window: tuple[datetime, datetime], limit: int
    ) -> AsyncIterator[Sequence[Reading]]:
        chosen = [row for row in self.rows if window[0] <= row[0] < window[1]][:limit]
        for first in range(0, len(chosen), 3):
            yield chosen[first : first + 3]

    async def knows(self, sensor_id: SensorId) -> bool:
        return bool(self.rows)


async def test_a_sensor_is_asked_of_the_store_at_most_once_a_second() -> None:
    shelf, clock = Shelf([reading(NOON)]), HandClock()
    latest = Latest(shelf, clock)
    first = await latest.of(SensorId(1))
    clock.ms = limits.LATEST_TTL_MS - 1
    shelf.rows.append(reading(NOON + timedelta(seconds=1)))
    assert await latest.of(SensorId(1)) == first
    clock.ms = limits.LATEST_TTL_MS
    second = await latest.of(SensorId(1))
    assert second is not None
    assert first is not None
    assert second.etag != first.etag
    assert shelf.asked == 2


async def test_the_cache_holds_no_more_than_its_limit() -> None:
    latest = Latest(Shelf(), HandClock())
    for sensor_id in range(limits.LATEST_ENTRIES_MAX + 5):
        await latest.of(SensorId(sensor_id))
    assert len(latest) == limits.LATEST_ENTRIES_MAX


async def test_pages_put_together_are_the_whole() -> None:
    rows = [reading(NOON + timedelta(seconds=n), 7 + n / 1000) for n in range(10)]
    shelf, end = Shelf(rows), NOON + timedelta(seconds=9)
    for limit in range(1, 12):
        start: datetime | None = NOON
        seen: list[str] = []
        while start is not None:
            page = await history(shelf, SensorId(1), (start, end), limit, Form.JSON)
            assert page.readings <= limit
            seen += [row["timestamp"] for row in json.loads(page.body)["readings"]]
            start = page.next_start
        assert seen == [iso(row[0]) for row in rows[:9]]


def test_values_are_rounded_to_their_metrics_step_and_absent_ones_left_out() -> None:
    row = (NOON, 7.099999904632568, None, None, 15.199999809265137, *[None] * 10, 0, None, 1)
    assert as_latest(row) == {
        "pH": 7.1,
        "temp": 15.2,
        "timestamp": "2026-11-20T12:00:00Z",
        "quality": [],
        "samples": 1,
    }
    assert as_latest(reading(NOON, None))["pH"] is None


def test_times_are_utc_with_milliseconds_only_if_there_are_any() -> None:
    assert iso(datetime.fromisoformat("2026-11-20T12:00:00+05:00")) == "2026-11-20T07:00:00Z"
    assert iso(NOON + timedelta(milliseconds=5)) == "2026-11-20T12:00:00.005Z"


def test_every_mark_has_its_name() -> None:
    assert marks(sum(Quality)) == [str(mark.name).lower() for mark in Quality if mark]
    assert marks(0) == []
    assert marks(1 << 14) == [str(1 << 14)]
