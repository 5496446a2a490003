"""The limit ingest is held against: binary COPY of the same rows, encoded beforehand.

Sorted by (sensor_id, timestamp) within a flush, one connection, the same table and settings. A
share of it means nothing unless both sides load the same rows in the same order.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg
import numpy as np

from cloud.adapters.postgres.copy import READING_COLUMNS, stream
from cloud.core.rows import gather
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.sealed import Load, sealed
from wire.batch import Batch
from wire.codec import decode
from wire.ids import Epoch, HubId, Region

ROWS: Final = 1_000
SENSORS: Final = 200
HUBS: Final = 16
FLUSHES: Final = (10_000, 100_000)
NORTH: Final = Region("north")
FIRST_SENSOR_ID: Final = 1_000_000

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Limit(NamedTuple):
    """What COPY alone reached.

    Attributes:
        rows_per_s: Wall clock.
        cpu_s_per_million: Of PostgreSQL.
    """

    rows_per_s: float
    cpu_s_per_million: float


def hub(number: int) -> HubId:
    """Return the name of a virtual hub."""
    return HubId(f"bench-{number}")


def bodies(
    batches: int, hubs: int = HUBS, start_ms: int | None = None, rows: int = ROWS
) -> list[bytes]:
    """Return sealed batches, hubs in turn, as ``firmware_sim batches`` makes them.

    Args:
        batches: Of all hubs together.
        hubs: How many speak; each has ``SENSORS`` of its own.
        start_ms: Observed time of the first reading; None = so that the last is of now.
        rows: In each batch.
    """
    sensors = min(SENSORS, rows)
    seconds = rows // sensors * -(-batches // hubs)
    start_ms = time.time_ns() // 1_000_000 - seconds * 1_000 if start_ms is None else start_ms
    load = Load(sensors, rows, 4, FIRST_SENSOR_ID, start_ms)
    water = Water(PROFILES[ProfileName.DRINKING], 1)
    by_hub = [
        sealed(load, water, (number, hub(number), NORTH), Epoch(number), share)
        for number in range(hubs)
        if (share := len(range(number, batches, hubs)))
    ]
    return [each[turn] for turn in range(len(by_hub[0])) for each in by_hub if turn < len(each)]


async def copied(
    database_url: str, batches: Sequence[bytes], flush_rows: int, postgres_s: Callable[[], float]
) -> Limit:
    """Load the rows of ``batches`` by COPY alone, into tables that are empty before and after.

    Args:
        database_url: Where.
        batches: Encoded, ``ROWS`` in each.
        flush_rows: In one COPY, which is one transaction.
        postgres_s: Says PostgreSQL's CPU seconds so far.
    """
    # In a thread: whoever holds a connection to a broker must be able to answer meanwhile.
    encoded = await asyncio.to_thread(lambda: asyncio.run(_encoded(batches, flush_rows)))
    rows = len(batches) * ROWS
    async with emptied(database_url) as connection:
        spent_s, start = postgres_s(), time.perf_counter()
        for body in encoded:
            async with connection.transaction():
                await connection.copy_to_table(
                    "sensor_readings",
                    source=_once(body),
                    columns=READING_COLUMNS,
                    format="binary",
                )
        took_s = time.perf_counter() - start
        return Limit(rows / took_s, (postgres_s() - spent_s) * 1e6 / rows)


@asynccontextmanager
async def emptied(database_url: str) -> AsyncIterator[Connection]:
    """Lend a connection to a store without readings; what comes meanwhile is thrown away."""
    connection = await asyncpg.connect(database_url)
    try:
        await empty(connection)
        yield connection
        await empty(connection)
    finally:
        await connection.close()


async def empty(connection: Connection) -> None:
    """Throw away what hubs have sent, and whose sensors they spoke for."""
    await connection.execute(
        "truncate sensor_readings, evidence_readings, batch_log, hub_ledger, refused_readings,"
        " reading_conflicts, dead_letters, sensors"
    )
    await connection.execute("select ensure_month(now()), ensure_month(now() - interval '1 day')")
    await connection.execute("checkpoint")


async def _encoded(batches: Sequence[bytes], flush_rows: int) -> list[bytes]:
    """Return the rows, in the order they were sealed, as ready COPY streams."""
    opened = [each for each in map(decode, batches) if isinstance(each, Batch)]
    streams = []
    for first in range(0, len(opened), flush_rows // ROWS):
        rows = gather(opened[first : first + flush_rows // ROWS])
        ordered = rows.take(np.lexsort((rows.observed_at_ms, rows.sensor_ids)))
        streams.append(b"".join([chunk async for chunk in stream(ordered)]))
    return streams


async def _once(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 1 << 18):
        yield body[at : at + (1 << 18)]
