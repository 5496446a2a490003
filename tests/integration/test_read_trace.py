"""Traces of readings with every fate, over a real PostgreSQL and the real command."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from cloud.core.errors import OperatorError
from cloud.run.trace import run_trace
from cloud.settings import Settings
from cloud.trace import asked_for
from tests.support.api import (
    NOON,
    add_batch,
    add_ledger,
    add_readings,
    add_sensor,
    connected,
    open_alert,
)

AT_NOON = "2026-11-20T12:00:00Z"


async def traced(url: str, sensor: int, time: str = AT_NOON) -> Any:
    said = await run_trace(Settings(database_url=url), sensor, time, as_json=True)
    return json.loads(said)


async def test_a_stored_reading_shows_every_hop_to_its_alert(database_url: str) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        await add_readings(database, 5, NOON, 1, 1, samples=1)
        await add_batch(database, 3)
        await add_ledger(database, "{[3,4)}", 4)
        await database.execute("insert into detect_ledger values ('hub-1', 7, '{[3,4)}')")
        alert_id = await open_alert(database, 5, sequence=3)
        trace = await traced(database_url, 5)
        assert trace["verdict"] == "stored"
        assert trace["reading"]["pH"] == 7.1
        (batch,) = trace["batches"]
        assert (batch["epoch"], batch["sequence"], batch["receipt"]) == ("7", 3, "received")
        assert batch["received_at"] == "2026-11-20T12:00:00.041Z"
        assert batch["evaluated"]
        assert trace["findings"][0]["alert_id"] == str(alert_id)


@pytest.mark.parametrize(
    ("second", "samples", "verdict"),
    [(0, 10, "stored"), (9, 10, "stored_in_window"), (700, 10, "not_seen"), (9, 1, "not_seen")],
)
async def test_an_instant_within_a_window_is_found_in_its_row(
    database_url: str, second: int, samples: int, verdict: str
) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        await add_readings(database, 5, NOON, 1, 10, samples=samples)
        asked = (NOON + timedelta(seconds=second)).isoformat()
        assert (await traced(database_url, 5, asked))["verdict"] == verdict


async def test_a_refused_row_says_why(database_url: str) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        await database.execute(
            "insert into refused_readings values ('hub-2', 7, 1, 5, $1, 'foreign sensor', '{}', "
            "0, 1)",
            NOON,
        )
        trace = await traced(database_url, 5)
        assert trace["verdict"] == "refused"
        assert "foreign sensor" in trace["why"]


async def test_what_the_hub_shed_is_told_so(database_url: str) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        span = (NOON - timedelta(minutes=5), NOON + timedelta(minutes=5))
        await add_batch(database, 4, lane=2, observed=span)
        await database.execute(
            "insert into sheds values ('hub-1', 7, 4, 6, 0, 9, $1, $2, 30, 'spool at its cap')",
            *span,
        )
        trace = await traced(database_url, 5)
        assert trace["verdict"] == "shed"
        assert trace["why"].endswith("on purpose: spool at its cap")
        assert [(lost["rows"], lost["reason"]) for lost in trace["tombstones"]] == [
            (30, "spool at its cap")
        ]


async def test_a_reading_that_may_be_in_a_missing_batch_is_missing(database_url: str) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        await add_ledger(database, "{[0,3)}", 9)
        trace = await traced(database_url, 5)
        assert trace["verdict"] == "missing"
        assert trace["gaps"] == [
            {"epoch": "7", "from_sequence": 3, "to_sequence": 9, "cause": "pending"}
        ]


async def test_what_nobody_sent_was_not_seen(database_url: str) -> None:
    async with connected(database_url) as database:
        assert (await traced(database_url, 5))["verdict"] == "unknown_sensor"
        await add_sensor(database, 5)
        await add_ledger(database, "{[0,3)}", 3)
        assert (await traced(database_url, 5))["verdict"] == "not_seen"


async def test_the_command_speaks_to_technicians(database_url: str) -> None:
    async with connected(database_url) as database:
        await add_sensor(database, 5)
        await add_readings(database, 5, NOON, 1, 1, samples=1)
        await add_batch(database, 3)
    noon_ms = str(int(NOON.timestamp() * 1000))
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs meanwhile
        [sys.executable, "-P", "-m", "cloud", "trace", "5", noon_ms],
        env={**os.environ, "HEADGATE_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"sensor 5 at {AT_NOON}: stored\n")
    assert "spoken for by hub-1" in done.stdout
    assert "epoch 7 sequence 3" in done.stdout


@pytest.mark.parametrize("text", ["noon", "2026-11-20T12:00:00", "9" * 30, ""])
def test_a_time_that_is_none_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(OperatorError, match="hint: say 2026"):
        asked_for(text)
