"""Real records through the whole platform: every value stored once, and read back as recorded."""

import csv
import gzip
import itertools
import json
import os
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headgate.replay import replay
from headgate.stack.stack import Stack
from wire.metric import BY_NAME, RESOLUTION, Metric

REAL = Path(os.environ.get("HEADGATE_REAL_DATA", "../shared/data"))
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no real records in {REAL}; set HEADGATE_REAL_DATA"
)
pytestmark = [pytest.mark.timeout(300), needs_real_data]

ROWS = 6_000
DAY = "2016-02-17"
ON_MAIN_LINE = {
    Metric.TEMPERATURE: "Tp",
    Metric.PH: "pH",
    Metric.CONDUCTIVITY: "Leit",
    Metric.TURBIDITY: "Trueb",
}


def head_of(name: str, folder: Path) -> tuple[Path, list[dict[str, str]]]:
    """Write the first rows of a record to a file of their own and return them too."""
    with gzip.open(REAL / name, "rt", newline="") as record:
        lines = list(itertools.islice(record, ROWS + 1))
    path = folder / "record.csv"
    path.write_text("".join(lines))
    return path, list(csv.DictReader(lines))


def ask(stack: Stack, path: str) -> Any:
    with urllib.request.urlopen(f"{stack.api_url}{path}", timeout=30) as answer:
        return json.load(answer)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def agrees(answered: dict[str, Any], recorded: dict[str, str]) -> None:
    """Assert that an answer holds the record's values, to half the metric's resolution."""
    found = {
        BY_NAME[name.lower()]: value for name, value in answered.items() if name.lower() in BY_NAME
    }
    for metric, column in ON_MAIN_LINE.items():
        half = RESOLUTION[metric] / 2
        assert found[metric] == pytest.approx(float(recorded[column]), abs=half * 1.001)


async def test_a_waterworks_record_is_stored_whole_and_read_back(
    open_folder: Path, tmp_path: Path
) -> None:
    path, rows = head_of("gecco2017_data.csv.gz", tmp_path)
    async with Stack(open_folder, stages=("ingest", "api"), any_ports=True) as stack:
        verdict = await replay(stack, path, "gecco2017", tmp_path / "ledger")
        latest = ask(stack, "/api/sensors/latest?sensor_id=1")
        day = ask(
            stack, f"/api/sensors/1/readings?from={DAY}T00:00:00Z&to={DAY}T23:59:59Z&limit=5000"
        )
    for wrong in ("missing", "extra", "conflicting", "refused"):
        assert verdict[wrong] == 0
    assert verdict["readings_stored"] == verdict["readings_sent"] > ROWS
    agrees(latest, rows[-1])
    of_the_day = [row for row in rows if row["Time"].startswith(DAY)]
    assert len(day["readings"]) == len(of_the_day) > 1_000
    for answered, recorded in zip(day["readings"], of_the_day, strict=True):
        assert datetime.fromisoformat(answered["timestamp"]) == instant(recorded["Time"])
        agrees(answered, recorded)


async def test_a_rivers_raw_record_is_stored_whole_and_its_nonsense_counted(
    open_folder: Path, tmp_path: Path
) -> None:
    path = (REAL / "logan_river_MainStreet2019.csv.gz").absolute()
    async with Stack(open_folder, stages=("ingest",), any_ports=True) as stack:
        verdict = await replay(stack, path, "logan_river", tmp_path / "ledger")
    for wrong in ("missing", "extra", "conflicting", "refused"):
        assert verdict[wrong] == 0
    assert verdict["readings_stored"] == verdict["readings_sent"] > 25_000
    assert verdict["refused_values"] > 0
