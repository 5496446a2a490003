"""The oracle against real tables: what it reads is what was written, to the microsecond."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from firmware_sim.adapters.ledger_file import LedgerFile
from firmware_sim.adapters.postgres import connected
from firmware_sim.core.events import Cause, Event
from firmware_sim.core.ledger import Entries
from firmware_sim.core.readings import Readings
from firmware_sim.oracle.oracle import judge
from tests.support.water import some_readings
from wire.batch import Batch, Seal
from wire.codec import encode
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence
from wire.metric import COLUMNS, Metric

NOON_MS = 1_767_268_800_123
SENSORS = 7
SECONDS = 50


def water() -> Readings:
    made = some_readings(
        [1_000 + row % SENSORS for row in range(SENSORS * SECONDS)],
        [NOON_MS + row // SENSORS * 1_000 for row in range(SENSORS * SECONDS)],
    )
    made.values[:, Metric.PH] = 7 + np.arange(len(made)) % 100 / 1_000
    made.values[::3, Metric.TURBIDITY] = 0.25
    return made


def ledger_of(made: Readings, folder: Path, *events: Event) -> Path:
    ledger = LedgerFile(folder / "ledger")
    for event in events:
        ledger.event(event.as_json())
    for low in range(0, len(made), 100):
        part = made.where(np.arange(low, min(low + 100, len(made))))
        ledger.made(Entries(part, part.observed_at_ms))
    ledger.close()
    return folder / "ledger"


def instant(at_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)


async def store(connection: asyncpg.Connection, made: Readings) -> None:
    await connection.execute("select ensure_month($1)", instant(NOON_MS))
    rows = [
        (sensor_id, instant(at_ms), *[None if np.isnan(v) else v for v in values], 0, None, 1)
        for sensor_id, at_ms, values in zip(
            made.sensor_ids.tolist(),
            made.observed_at_ms.tolist(),
            made.values.tolist(),
            strict=True,
        )
    ]
    columns = ["sensor_id", "timestamp", *COLUMNS, "quality", "score", "samples"]
    await connection.copy_records_to_table("sensor_readings", records=rows, columns=columns)


@pytest.mark.spec("S2")
async def test_what_is_stored_as_sent_is_clean_in_groups_of_any_size(
    database_url: str, tmp_path: Path
) -> None:
    made = water()
    path = ledger_of(made, tmp_path)
    connection = await asyncpg.connect(database_url)
    await store(connection, made)
    await connection.close()
    for rows_per_group in (1, 120, 1_000_000):
        async with connected(database_url) as database:
            verdict = (await judge(path, database, rows_per_group=rows_per_group)).readings
        assert verdict.readings_sent == verdict.readings_stored == SENSORS * SECONDS
        assert verdict.missing == verdict.extra == verdict.conflicting == 0


async def test_every_kind_of_difference_is_counted_once(database_url: str, tmp_path: Path) -> None:
    made = water()
    path = ledger_of(made, tmp_path)
    connection = await asyncpg.connect(database_url)
    await store(connection, made)
    one = "where sensor_id = 1003 and timestamp = $1"
    first, second, third = (instant(NOON_MS + n * 1_000) for n in (10, 11, 12))
    await connection.execute(f"delete from sensor_readings {one}", first)
    await connection.execute(f"update sensor_readings set ph_level = 9.5 {one}", second)
    await connection.execute(
        f"update sensor_readings set timestamp = timestamp + interval '1 microsecond' {one}", third
    )
    await connection.execute(
        "insert into reading_conflicts values (1001, $1, 'h', 1, 1, '{}', 0, 1)", first
    )
    await connection.close()
    async with connected(database_url) as database:
        verdict = (await judge(path, database)).readings
    assert (verdict.missing, verdict.extra, verdict.conflicting) == (2, 1, 2)


async def test_rows_and_batches_refused_on_record_are_not_missing(
    database_url: str, tmp_path: Path
) -> None:
    made = water()
    path = ledger_of(made, tmp_path)
    of_three = made.where(np.flatnonzero(made.sensor_ids == 1_003))
    rest = made.where(made.sensor_ids != 1_003)
    batch = Batch(
        Seal(BatchKey(HubId("hub-1"), Epoch(5), Sequence(0)), Region("north")),
        of_three.sensor_ids[1:],
        of_three.observed_at_ms[1:],
        of_three.values[1:].astype(np.float32),
        quality=np.zeros(SECONDS - 1, np.int16),
        score=np.full(SECONDS - 1, np.nan, np.float32),
        samples=np.ones(SECONDS - 1, np.int32),
    )
    connection = await asyncpg.connect(database_url)
    await store(connection, rest)
    await connection.execute(
        "insert into refused_readings values ('hub-1', 5, 1, 1003, $1, 'future', '{}', 0, 1)",
        instant(NOON_MS),
    )
    await connection.execute(
        "insert into dead_letters (hub_id, epoch, sequence, crc, reason, body)"
        " values ('hub-1', 5, 0, 1, 'foreign', $1)",
        encode(batch),
    )
    await connection.execute(
        "insert into hub_ledger (hub_id, epoch, region, received, refused)"
        " values ('hub-1', 5, 'north', '{[0,2)}', '{[0,1)}')"
    )
    await connection.close()
    async with connected(database_url) as database:
        verdict = (await judge(path, database)).readings
    assert (verdict.missing, verdict.refused) == (0, SECONDS)


async def test_windows_are_compared_by_their_samples(database_url: str, tmp_path: Path) -> None:
    made = water()
    path = ledger_of(made, tmp_path)
    window = made.observed_at_ms // 10_000
    _, head = np.unique(np.stack([made.sensor_ids, window]), axis=1, return_index=True)
    connection = await asyncpg.connect(database_url)
    for each in np.unique(window):
        of_it = window == each
        for sensor_id in np.unique(made.sensor_ids):
            same = of_it & (made.sensor_ids == sensor_id)
            for metric in (Metric.PH, Metric.TURBIDITY):
                made.values[same, metric] = np.nanmean(made.values[same, metric])
    await store(connection, made.where(np.sort(head)))
    await connection.execute(
        "update sensor_readings set samples = case"
        " when timestamp = (select min(timestamp) from sensor_readings) then $1"
        " when timestamp = (select max(timestamp) from sensor_readings) then $2 else 10 end",
        int((window == window.min()).sum()) // SENSORS,
        int((window == window.max()).sum()) // SENSORS,
    )
    async with connected(database_url) as database:
        clean = (await judge(path, database, window_ms=10_000)).readings
    assert (clean.readings_stored, clean.missing, clean.extra) == (SENSORS * SECONDS, 0, 0)
    assert clean.conflicting == 0
    await connection.execute("update sensor_readings set ph_level = 3 where sensor_id = 1003")
    async with connected(database_url) as database:
        sour = (await judge(path, database, window_ms=10_000)).readings
    assert (sour.missing, sour.extra, sour.conflicting) == (0, 0, len(np.unique(window)))
    await connection.execute("update sensor_readings set samples = samples - 2 where samples = 10")
    await connection.close()
    async with connected(database_url) as database:
        short = (await judge(path, database, window_ms=10_000)).readings
    assert short.missing == SENSORS * SECONDS - short.readings_stored > 0


async def test_the_command_prints_one_json_verdict_with_alerts(
    database_url: str, tmp_path: Path
) -> None:
    made = water()
    slug = Event(0, 1_000, Cause.ACID, NOON_MS, NOON_MS + 5_000)
    made.label[(made.sensor_ids == 1_000) & (made.observed_at_ms < slug.end_ms)] = 0
    path = ledger_of(made, tmp_path, slug)
    connection = await asyncpg.connect(database_url)
    await store(connection, made)
    for sensor_id, at_ms in ((1_000, NOON_MS + 2_000), (1_005, NOON_MS)):
        finding = await connection.fetchval(
            "insert into findings (finding_id, sensor_id, cause, metric, severity, observed_at,"
            " historical, ended, evidence, hub_id, epoch, sequence)"
            " values (gen_random_uuid(), $1, 'c', 'ph_level', 3, $2, false, false, '{}', 'h', 1, 1)"
            " returning finding_id",
            sensor_id,
            instant(at_ms),
        )
        await connection.execute(
            "insert into contamination_alerts (sensor_id, timestamp, contaminant_type, metric,"
            " severity_level, kind, opened_by, explanation, last_observed_at)"
            " values ($1, $2, 'c', 'ph_level', 3, 'contamination', $3, '{}', $2)",
            sensor_id,
            instant(at_ms),
            finding,
        )
    await connection.close()
    arguments = ["oracle", "--ledger", str(path), "--database", database_url, "--json"]
    process = await create_subprocess_exec(
        *(sys.executable, "-P", "-m", "firmware_sim", *arguments), stdout=PIPE
    )
    output, _ = await process.communicate()
    verdict = json.loads(output.splitlines()[-1])
    assert process.returncode == 0
    assert verdict["missing"] == verdict["extra"] == verdict["conflicting"] == 0
    assert verdict["readings_sent"] == len(made)
    assert (verdict["alerts_expected"], verdict["alerts"]) == (1, 2)
    assert (verdict["alerts_missing"], verdict["alerts_extra"]) == (0, 1)
