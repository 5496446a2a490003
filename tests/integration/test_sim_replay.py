"""Real records through a hub: every value once, at its own time."""

import asyncio
import csv
import gzip
import itertools
import os
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from firmware_sim.core.pending import ResendPolicy
from firmware_sim.core.record import Count, blocks, parse_map
from firmware_sim.replay.replay import replay
from firmware_sim.sensor import Connection
from tests.support.water import MemoryHub, MemoryLedger
from wire.clock import SystemClock
from wire.metric import METRICS, Metric

REAL = Path(os.environ.get("HEADGATE_REAL_DATA", "../shared/data"))
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no real records in {REAL}; set HEADGATE_REAL_DATA"
)


async def replayed(name: str, map_name: str, most: int) -> tuple[MemoryHub, Count]:
    """Replay the first ``most`` lines of a real file through a hub in memory."""
    hub, count = MemoryHub(), Count()
    record_map = parse_map((files("firmware_sim") / "maps" / f"{map_name}.toml").read_text())
    connection = Connection(
        hub, SystemClock(), MemoryLedger(), ResendPolicy(after_ms=60_000), per_message=100
    )
    with gzip.open(REAL / name, "rt", newline="") as file:
        lines = (line for _, line in zip(range(most), file, strict=False))
        async with asyncio.TaskGroup() as group:
            talking = group.create_task(connection.run())
            made = blocks(lines, record_map, 1, count)
            await replay(made, connection, SystemClock(), None, asyncio.Event())
            await connection.drained()
            talking.cancel()
    return hub, count


def instant_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@needs_real_data
async def test_the_waterworks_record_arrives_whole_at_its_own_times() -> None:
    hub, count = await replayed("gecco2017_data.csv.gz", "gecco2017", 40_000)
    metrics = [Metric.TEMPERATURE, Metric.PH, Metric.TURBIDITY, Metric.CONDUCTIVITY]
    with gzip.open(REAL / "gecco2017_data.csv.gz", "rt", newline="") as file:
        rows = list(itertools.islice(csv.DictReader(file), 39_999))
    absent = [np.nan] * METRICS
    times = [instant_ms(row["Time"]) for row in rows]
    stored = np.array([hub.stored.pop((1, at_ms), absent) for at_ms in times])[:, metrics]
    other = [hub.stored.pop((2, at_ms), absent) for at_ms in times]
    said = [[float(row[n] or "nan") for n in ("Tp", "pH", "Trueb", "Leit")] for row in rows]
    assert not hub.stored
    assert np.allclose(stored, said, rtol=1e-6, equal_nan=True)
    silent = np.isnan(stored).all(axis=1) & np.isnan(other).all(axis=1)
    assert (count.rows, count.rows_empty) == (39_999, silent.sum())
    assert silent.sum() > 5_000


@needs_real_data
async def test_the_river_record_leaves_sentinels_out_and_nonsense_in() -> None:
    hub, count = await replayed("logan_river_MainStreet2019.csv.gz", "logan_river", 30_000)
    temperature = np.array([values[Metric.TEMPERATURE] for values in hub.stored.values()])
    level = np.array([values[Metric.WATER_LEVEL] for values in hub.stored.values()])
    assert (count.rows, count.rows_out_of_order) == (25_881, 0)
    assert count.absent_values == 129 + 252  # -9999 and 7999 of temp, 7999 of cond
    assert np.nanmax(temperature) < 40
    assert 0 <= np.nanmin(level) < np.nanmax(level) < 1.2


async def test_the_command_says_what_a_file_lacks(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("Time,Tp\n2016-02-15 11:54:00,4.4\n")
    arguments = [str(tmp_path / "short.csv"), "--map", "gecco2017", "--speed", "max"]
    arguments += ["--broker", "mqtt://127.0.0.1:9", "--ledger", str(tmp_path / "ledger")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "firmware_sim", "replay", *arguments), stderr=PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"no column" in errors
    assert b"Traceback" not in errors
