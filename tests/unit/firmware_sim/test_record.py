"""A recorded file becomes readings: nothing invented, nothing lost, everything counted."""

import asyncio
from importlib.resources import files

import numpy as np
import pytest

from firmware_sim.core.pending import ResendPolicy
from firmware_sim.core.readings import joined
from firmware_sim.core.record import Count, UnreadableRecordError, blocks, parse_map
from firmware_sim.replay.replay import HELD_MAX, replay
from firmware_sim.sensor import Connection
from tests.support.water import MemoryHub, MemoryLedger
from wire.clock import SystemClock
from wire.metric import Metric

MAP = """
title = "two probes"
time_column = "when"
time_zone = "UTC"
absent_texts = ["", "NULL"]
absent_numbers = [-9999.0]
[[sensors]]
name = "one"
[sensors.columns]
a = { metric = "ph" }
b = { metric = "stage", divisor = 100.0 }
[[sensors]]
name = "two"
[sensors.columns]
c = { metric = "turbidity" }
"""
FILE = """when,a,noise,b,c
2020-01-01 00:00,7.1,x,150,0.5
2020-01-01 00:01:00,,x,NULL,
2020-01-01 00:02:00.250,-9999.000,x,1,
2020-01-01 00:02,7.3,x,2,
2020-01-01 00:03,15.2,x,,0.25
"""
MIDNIGHT_MS = 1_577_836_800_000


def test_cells_become_the_values_of_the_right_metric_sensor_and_instant() -> None:
    count = Count()
    made = joined(list(blocks(FILE.splitlines(), parse_map(MAP), 40, count)))
    assert made.sensor_ids.tolist() == [40, 41, 40, 40, 41]
    assert (made.observed_at_ms - MIDNIGHT_MS).tolist() == [0, 0, 120_250, 180_000, 180_000]
    assert made.values[0, [Metric.PH, Metric.WATER_LEVEL]].tolist() == [7.1, 1.5]
    assert np.isnan(made.values[2, Metric.PH])
    assert made.values[2, Metric.WATER_LEVEL] == 0.01
    assert made.values[3, Metric.PH] == 15.2  # impossible: sent, so that the hub can refuse it
    assert made.values[[1, 4], Metric.TURBIDITY].tolist() == [0.5, 0.25]


def test_every_row_and_cell_is_accounted_for() -> None:
    count = Count()
    list(blocks(FILE.splitlines(), parse_map(MAP), 40, count))
    assert count == Count(
        rows=5, rows_empty=1, rows_out_of_order=1, readings=5, values=6, absent_values=3
    )


def test_order_is_kept_over_the_edge_of_a_block() -> None:
    head = "when,a,b,c"
    rows = [f"2020-01-01 {n // 60 % 24:02}:{n % 60:02},7,1,1" for n in range(1_440)] * 2
    count = Count()
    list(blocks([head, *rows], parse_map(MAP), 1, count))
    assert (count.rows, count.rows_out_of_order) == (2_880, 1_440)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["when,a,c"], "no column b"),
        (["when,a,b,c", "2020-01-01,x,1,1"], "could not convert"),
        (["when,a,b,c", "soon,1,1,1"], "Error parsing datetime"),
        (["when,a,b,c", "2020-01-01,1"], "after row 0"),
    ],
)
def test_what_cannot_be_read_is_said_not_guessed(lines: list[str], says: str) -> None:
    with pytest.raises(UnreadableRecordError, match=says):
        list(blocks(lines, parse_map(MAP), 1, Count()))


@pytest.mark.parametrize(
    "damage", [('"UTC"', '"CET"'), ('"ph"', '"acidity"'), ("title", "headline"), ("[[", "[")]
)
def test_a_map_that_means_nothing_is_refused(damage: tuple[str, str]) -> None:
    with pytest.raises(UnreadableRecordError):
        parse_map(MAP.replace(*damage, 1))


@pytest.mark.parametrize("name", ["gecco2017", "logan_river"])
def test_shipped_maps_can_be_read(name: str) -> None:
    parse_map((files("firmware_sim") / "maps" / f"{name}.toml").read_text())


@pytest.mark.spec("I6")
async def test_a_replay_waits_for_commitments_and_loses_nothing() -> None:
    hub, ledger = MemoryHub(), MemoryLedger()
    hub.answers = False
    rows = [f"2020-01-01 {n // 60 % 24:02}:{n % 60:02},7.25,,1.5" for n in range(1_440)]
    rows = [row.replace("2020-01-01", f"2020-01-{day:02}") for day in range(1, 16) for row in rows]
    made = blocks(["when,a,b,c", *rows], parse_map(MAP), 1, Count())
    connection = Connection(hub, SystemClock(), ledger, ResendPolicy(after_ms=500), per_message=100)
    async with asyncio.TaskGroup() as group:
        talking = group.create_task(connection.run())
        reading = group.create_task(replay(made, connection, SystemClock(), None, asyncio.Event()))
        async with asyncio.timeout(30):
            while len(hub.stored) < HELD_MAX - 2_000:
                await asyncio.wait({reading}, timeout=0.05)
            assert connection.held <= HELD_MAX
            assert not reading.done()
            hub.answers = True
            await reading
            await connection.drained()
        talking.cancel()
    assert len(hub.stored) == len(ledger.readings) == 2 * 15 * 1_440
    assert connection.tally.lost == 0
