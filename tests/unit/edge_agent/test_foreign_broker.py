"""On somebody else's broker a reading may be acknowledged and die with the agent: never covered."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.collect import Committed
from firmware_sim.core.pending import Pending, ResendPolicy
from tests.support.hub import START_MS, at, collector_on, message, spool_at
from tests.support.water import some_readings
from wire.limits import READINGS_PER_SENSOR_MESSAGE_MAX
from wire.reading import decode_status, encode_status

DIES, LIVES = (1, 0, 7.0), (1, 1_000, 7.0)


def hear(sensor: Pending, committed: Committed) -> None:
    """Let a sensor hear its statuses as they come over the wire."""
    for sensor_id, status in committed.statuses:
        said = decode_status(encode_status(status))
        sensor.commit({sensor_id: said.committed_through_ms}, {sensor_id: said.committed_ms})


@pytest.mark.spec("I6")
@pytest.mark.parametrize(("by_name", "still_held"), [(True, [START_MS]), (False, [])])
def test_a_reading_that_died_with_the_agent_is_still_the_sensors(
    tmp_path: Path, by_name: bool, still_held: list[int]
) -> None:
    """By range it would be covered, and lost: that is why it is not done there."""
    sensor = Pending(ResendPolicy())
    sensor.add(some_readings([1, 1], [START_MS, START_MS + 1_000]), np.arange(2))
    sensor.take(1, 10)
    spool = spool_at(tmp_path)
    collector_on(spool, by_name=by_name).absorb(message([DIES]), at(0))
    spool.close()  # the broker has its PUBACK, and nothing was committed
    spool = spool_at(tmp_path)
    collector = collector_on(spool, by_name=by_name)
    collector.absorb(message([LIVES]), at(1))
    hear(sensor, collector.commit(at(1)))
    resent, _ = sensor.take(10**9, 10)
    assert resent.observed_at_ms.tolist() == still_held
    if by_name:
        collector.absorb(message([DIES]), at(2))
        hear(sensor, collector.commit(at(2)))
        assert len(sensor) == 0
    spool.close()


def test_every_decided_reading_is_named_in_statuses_of_bounded_size(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    collector = collector_on(spool, by_name=True)
    count = READINGS_PER_SENSOR_MESSAGE_MAX + 5
    readings = [(1, 1_000 * n, 7.0) for n in range(count)] + [(2, 7, 7.0), (2, 7, 7.0), (2, 8, 7.0)]
    for low in range(0, len(readings), 500):
        collector.absorb(message(readings[low : low + 500]), at(0))
    statuses = [
        (int(i), decode_status(encode_status(s))) for i, s in collector.commit(at(0)).statuses
    ]
    named = [(i, at_ms - START_MS) for i, status in statuses for at_ms in status.committed_ms]
    assert sorted(named) == sorted({(i, at_ms) for i, at_ms, _ in readings})
    assert {status.committed_through_ms for _, status in statuses} == {0}
    assert [len(s.committed_ms) for i, s in statuses if i == 1] == [count - 5, 5]
    spool.close()
