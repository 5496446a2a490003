"""Who speaks for a sensor that comes by doors: all of them as one, and no hub beside them."""

import pytest

from cloud.core.arrivals import sort_out
from cloud.core.outcome import Outcome
from cloud.ingest.service import Ingest
from tests.support.builders import HUB, NOON, a_batch, a_seal
from tests.support.cloud import MemoryStore, StoppedClock, a_delivery
from wire.doors import EVERY_DOOR, is_door, is_sensors_door, named_sensor, speaker
from wire.ids import HubId
from wire.limits import SENSOR_ID_MAX

SENSOR = 7


async def told(store: MemoryStore, hub: str, minute: int) -> Outcome:
    """Let a hub say one reading of the sensor; each time by a worker that knows nothing yet."""
    batch = a_batch(seal=a_seal(hub=hub), sensors=[SENSOR], times=[NOON + 60_000 * minute])
    return await Ingest(store, StoppedClock()).flush(sort_out([a_delivery(batch)]))


@pytest.mark.spec("I2")
async def test_every_door_may_carry_the_sensor_of_another() -> None:
    store = MemoryStore()
    for minute, name in enumerate(("http", "http-3", "sensors-0", "sensors-1")):
        assert (await told(store, name, minute)).rows == 1
    assert store.tables.sensors == {SENSOR: EVERY_DOOR}


async def test_two_doors_in_one_flush_carry_the_same_sensor() -> None:
    store = MemoryStore()
    batches = [
        a_batch(seal=a_seal(hub=f"sensors-{n}"), sensors=[SENSOR], times=[NOON + n])
        for n in range(2)
    ]
    done = await Ingest(store, StoppedClock()).flush(sort_out(map(a_delivery, batches)))
    assert (done.rows, done.refused_rows) == (2, {})


async def test_neither_hub_nor_door_may_speak_for_the_sensor_of_the_other() -> None:
    of_doors, of_hub = MemoryStore(), MemoryStore()
    await told(of_doors, "sensors-0", 0)
    assert (await told(of_doors, HUB, 1)).refused_rows == {"foreign": 1}
    await told(of_hub, HUB, 0)
    assert (await told(of_hub, "sensors-0", 1)).refused_rows == {"foreign": 1}
    assert (await told(of_hub, "hub-2", 2)).refused_rows == {"foreign": 1}


@pytest.mark.parametrize("name", ["https", "http-", "http-x", "http-12345", "sensor-1", "a-http-1"])
def test_a_name_like_a_doors_is_none(name: str) -> None:
    assert not is_door(name)
    assert speaker(HubId(name)) == name


def test_doors_for_sensors_and_sensors_are_told_apart() -> None:
    assert is_sensors_door("sensors-0")
    assert not is_sensors_door("http-0")
    assert named_sensor("sensor-0") == 0
    assert named_sensor(f"sensor-{SENSOR_ID_MAX}") == SENSOR_ID_MAX
    for name in (f"sensor-{SENSOR_ID_MAX + 1}", "sensor-01", "sensor-", "sensors-1", "sensor-1x"):
        assert named_sensor(name) is None
