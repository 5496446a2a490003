"""Laws of intake's shell, in virtual time, over a real spool file."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.spool import SqliteSpool
from edge_agent.collect import Collector, CollectSettings, Committed
from edge_agent.core.clock import Now
from edge_agent.ports import Accept, SpoolFaultError, SpoolFullError
from edge_agent.receive import GATHER_MS, HURRY_EVERY_MS, REASONS_MAX, WAITING_BYTES_MAX, Receive
from tests.support import virtual_time
from tests.support.hub import START_MS, spool_at
from tests.support.uplink import at_once
from water.bands import bands
from water.screening import plausible
from wire.ids import SensorId, UnixMs
from wire.reading import decode_status

pytestmark = pytest.mark.spec("I3")


@dataclass
class Sensors:
    """``SensorSide`` without a broker; remembers what was on disk when a status went out."""

    spool: SqliteSpool
    told: list[tuple[int, int]] = field(default_factory=list)
    unkept: list[tuple[int, int]] = field(default_factory=list)

    async def run(self, accept: Accept) -> None:
        await asyncio.Event().wait()

    async def tell(self, statuses: Iterable[tuple[SensorId, bytes]]) -> None:
        held = self.spool.load().held
        kept = set(zip(held.sensor_ids.tolist(), held.observed_at_ms.tolist(), strict=True))
        for sensor_id, body in statuses:
            one = (sensor_id, int(decode_status(body).committed_through_ms))
            self.told.append(one)
            if one not in kept:
                self.unkept.append(one)


class Ailing(Collector):
    """A collector whose commits fail with ``trouble`` until it is cured."""

    trouble: SpoolFaultError | SpoolFullError | None = None
    recovered = 0

    def commit(self, now: Now) -> Committed:
        if self.trouble is not None:
            raise self.trouble
        return super().commit(now)

    def recover(self, now: Now) -> None:
        self.recovered += 1
        super().recover(now)


@dataclass
class Hub:
    """The shell and its neighbours."""

    receive: Receive
    sensors: Sensors
    collector: Ailing

    async def say(self, sensor_id: int, ms: int, ph: float = 7.0) -> None:
        body = json.dumps({"pH": ph, "timestamp": START_MS + ms}).encode()
        await self.receive.accept(f"sensors/{sensor_id}/data", body)


def told(tmp_path: Path, story: Callable[[Hub], Coroutine[Any, Any, None]]) -> Hub:
    """Run the shell while ``story`` is told."""
    spool = spool_at(tmp_path)
    collector = Ailing(
        spool, CollectSettings(boot="a"), bands(), plausible(), Now(START_MS + 60_000, 0)
    )
    clock = virtual_time.VirtualClock(UnixMs(START_MS + 60_000))
    sensors = Sensors(spool)
    hub = Hub(Receive(collector, at_once, sensors, lambda: None, clock), sensors, collector)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(hub.receive.run())
            await story(hub)
            running.cancel()
        await hub.receive.finish()

    virtual_time.run(main())
    spool.close()
    return hub


def test_a_status_is_told_within_a_second_and_only_of_what_is_on_disk(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        await hub.say(1, 50_000)
        await hub.say(2, 50_000)
        await asyncio.sleep(0.9)
        assert not hub.sensors.told
        await asyncio.sleep(0.2)
        assert sorted(hub.sensors.told) == [(1, START_MS + 50_000), (2, START_MS + 50_000)]

    assert not told(tmp_path, story).sensors.unkept


def test_a_hundred_readings_are_committed_at_once(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        await asyncio.sleep(0.5)
        for sensor_id in range(100):
            await hub.say(sensor_id, 50_000)
        await asyncio.sleep(2 * GATHER_MS / 1_000)
        assert len(hub.sensors.told) == 100

    told(tmp_path, story)


def test_something_suspicious_is_committed_at_once(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        await asyncio.sleep(0.5)
        await hub.say(1, 50_000, ph=11.0)
        await asyncio.sleep(2 * GATHER_MS / 1_000)
        assert hub.sensors.told

    told(tmp_path, story)


def test_something_suspicious_does_not_wait_for_others_to_gather(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        await hub.say(1, 50_000)
        await asyncio.sleep(0.01)  # the others are gathering
        await hub.say(2, 50_000, ph=11.0)
        await asyncio.sleep(GATHER_MS / 10_000)
        assert len(hub.sensors.told) == 2

    told(tmp_path, story)


def test_water_that_is_always_suspicious_is_still_committed_in_groups(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        for number in range(1_000):
            await hub.say(1, number, ph=11.0)
            await asyncio.sleep(0.001)
        gathered, hurried = 1_000 / GATHER_MS, 1_000 / HURRY_EVERY_MS
        assert hub.receive.counts["commits"] <= gathered + hurried + 2

    told(tmp_path, story)


def test_what_is_buffered_when_the_hub_is_told_to_stop_is_committed(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        await hub.say(1, 50_000)

    assert told(tmp_path, story).sensors.told == [(1, START_MS + 50_000)]


@pytest.mark.parametrize("trouble", [SpoolFaultError("fault"), SpoolFullError("full")])
def test_a_spool_in_trouble_takes_nothing_promises_nothing_and_loses_nothing(
    tmp_path: Path, trouble: SpoolFaultError | SpoolFullError
) -> None:
    async def story(hub: Hub) -> None:
        hub.collector.trouble = trouble
        for second in range(5):
            await hub.say(1, 50_000 + 1_000 * second)
            await asyncio.sleep(1)
        assert not hub.sensors.told
        hub.collector.trouble = None
        await asyncio.sleep(3)
        assert hub.sensors.told[-1] == (1, START_MS + 54_000)
        assert (hub.collector.recovered > 0) == isinstance(trouble, SpoolFaultError)

    hub = told(tmp_path, story)
    assert hub.receive.counts["commits_failed"] >= 4


def test_when_there_is_no_more_room_senders_wait_and_nothing_is_lost(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        hub.collector.trouble = SpoolFullError("full")
        await asyncio.sleep(2)
        waiting = WAITING_BYTES_MAX // 1_024
        async with asyncio.TaskGroup() as tasks:
            for sensor_id in range(waiting):
                tasks.create_task(hub.say(sensor_id, 50_000))
            await asyncio.sleep(5)
            assert hub.receive.counts["arrivals_held_back"] > 0
            hub.collector.trouble = None
        await asyncio.sleep(3)
        assert {sensor_id for sensor_id, _ in hub.sensors.told} == set(range(waiting))

    told(tmp_path, story)


def test_nonsense_is_counted_by_reason_and_reasons_are_bounded(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        accept = hub.receive.accept
        assert await accept("sensors/x/data", b"{}") == 1
        assert await accept("sensors/1/data", b'{"sensor_id": 2, "pH": 7}') == 1
        for n in range(50):
            await accept("sensors/1/data", b'{"pH": 7, "timestamp": "' + bytes([97 + n % 26]) * n)

    counts = told(tmp_path, story).receive.counts
    assert counts["messages_malformed"] == 52
    assert counts["malformed_names_another_sensor_than_its_topic"] == 1
    assert sum(name.startswith("malformed_") for name in counts) <= REASONS_MAX + 1


def test_fields_nobody_knows_are_counted_and_cost_no_reading(tmp_path: Path) -> None:
    async def story(hub: Hub) -> None:
        body = b'[{"pH": 7, "battery": 3.3, "rssi": -70, "time": 1e9}, {"pH": 7, "time": 1}]'
        assert await hub.receive.accept("sensors/1/data", body) == 2

    counts = told(tmp_path, story).receive.counts
    assert counts["ignored_fields"] == 2
    assert counts["messages_malformed"] == 0
