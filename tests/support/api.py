"""A real API on a free loopback port, and rows for it to answer with."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2

from cloud.run.api import run_api
from cloud.settings import ApiSettings
from tests.support.postgres import free_port
from tests.support.wait import until

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@asynccontextmanager
async def running_api(database_url: str, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Lend a client of an API that serves this database."""
    bind = f"127.0.0.1:{free_port()}"
    async with (
        asyncio.TaskGroup() as group,
        httpx2.AsyncClient(base_url=f"http://{bind}", timeout=10) as client,
    ):
        chosen = ApiSettings(database_url=database_url, api_bind=bind, **settings)
        api = group.create_task(run_api(chosen))

        serves: bool = await until(lambda: _serves(client))
        assert serves
        try:
            yield client
        finally:
            api.cancel()


async def _serves(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/livez")).status_code == 200
    except httpx2.TransportError:
        return False


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Any]:
    """Lend a connection to fill the database with."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def add_sensor(
    connection: Any,
    sensor_id: int,
    hub_id: str = "hub-1",
    region: str = "east-coast",
    site_id: int | None = None,
) -> None:
    """Register a sensor."""
    await connection.execute(
        "insert into sensors (sensor_id, hub_id, region, site_id) values ($1, $2, $3, $4)",
        sensor_id,
        hub_id,
        region,
        site_id,
    )


async def add_site(connection: Any, name: str = "Intake 4", lon: float | None = -73.97) -> int:
    """Add a site and return its id."""
    site_id: int = await connection.fetchval(
        "insert into sites (name, location, region, lat, lon) "
        "values ($1, 'NYC', 'east-coast', 40.78, $2) returning site_id",
        name,
        lon,
    )
    return site_id


async def add_readings(
    connection: Any, sensor_id: int, start: datetime, number: int, step_s: float, samples: int = 10
) -> None:
    """Store readings of four metrics and a score."""
    for instant in (start, start + timedelta(seconds=step_s * number)):
        await connection.execute("select ensure_month($1)", instant)
    await connection.execute(
        "insert into sensor_readings (sensor_id, timestamp, ph_level, temperature, turbidity, "
        "conductivity, quality, score, samples) "
        "select $1, $2::timestamptz + n * $4::float8 * interval '1 second', "
        "7.1 + (n % 100) / 1000.0, 15 + (n % 500) / 100.0, 0.018, 150000.1, "
        "case when n % 10 = 3 then 9 else 0 end, 0.02, $5 "
        "from generate_series(0, $3 - 1) n",
        sensor_id,
        start,
        number,
        step_s,
        samples,
    )


async def add_batch(
    connection: Any,
    sequence: int,
    *,
    hub_id: str = "hub-1",
    epoch: int = 7,
    lane: int = 0,
    observed: tuple[datetime, datetime] = (NOON, NOON),
) -> None:
    """Log a batch as received, not touching the ledger."""
    await connection.execute("select ensure_month($1)", observed[1])
    await connection.execute(
        "insert into batch_log values ($1, $2, $3, $4, 0, 1, $5, $6, $7, $8, 0)",
        hub_id,
        epoch,
        sequence,
        lane,
        *observed,
        observed[1] + timedelta(milliseconds=41),
        observed[1] + timedelta(milliseconds=90),
    )


async def add_ledger(
    connection: Any,
    received: str,
    next_sequence: int,
    *,
    hub_id: str = "hub-1",
    epoch: int = 7,
    refused: str = "{}",
    shed: str = "{}",
) -> None:
    """Write a life's ledger; multiranges as text."""
    await connection.execute(
        "insert into hub_ledger (hub_id, epoch, region, received, refused, shed, next_sequence, "
        "first_seen, updated_at) "
        "values ($1, $2, 'east-coast', $3::text::int8multirange, $4::text::int8multirange, "
        "$5::text::int8multirange, $6, $7, $7)",
        hub_id,
        epoch,
        received,
        refused,
        shed,
        next_sequence,
        NOON,
    )


async def open_alert(
    connection: Any,
    sensor_id: int,
    *,
    cause: str = "ph_high",
    severity: int = 3,
    sequence: int = 0,
    observed_at: datetime = NOON,
    silently: bool = False,
) -> int:
    """Open an alert as the alert stage does: row and notification in one transaction.

    ``silently``: without the notification, as for a listener that was away.
    """
    async with connection.transaction():
        finding_id = await connection.fetchval(
            "insert into findings (finding_id, sensor_id, cause, metric, severity, observed_at, "
            "historical, ended, evidence, hub_id, epoch, sequence, found_at) "
            "values (gen_random_uuid(), $1, $2, 'ph_level', $3, $4, false, false, '{}', 'hub-1', "
            "7, $5, $6) returning finding_id",
            sensor_id,
            cause,
            severity,
            observed_at,
            sequence,
            observed_at + timedelta(milliseconds=60),
        )
        alert_id: int = await connection.fetchval(
            "insert into contamination_alerts (sensor_id, timestamp, contaminant_type, metric, "
            "severity_level, kind, opened_by, explanation, last_observed_at) "
            "values ($1, $2, $3, 'ph_level', $4, 'contamination', $5, "
            '\'{"value": 9.1, "low": 6.5, "high": 8.5}\', $2) returning alert_id',
            sensor_id,
            observed_at,
            cause,
            severity,
            finding_id,
        )
        if not silently:
            await notify(connection, alert_id)
    return alert_id


async def resolve_alert(connection: Any, alert_id: int) -> None:
    """Resolve an alert and say so."""
    async with connection.transaction():
        await connection.execute(
            "update contamination_alerts set resolved = true, resolved_at = clock_timestamp() "
            "where alert_id = $1",
            alert_id,
        )
        await notify(connection, alert_id)


async def notify(connection: Any, alert_id: int) -> None:
    """Notify as the alert stage does."""
    payload = json.dumps({"alert_id": alert_id})
    await connection.execute("select pg_notify('alerts', $1)", payload)
