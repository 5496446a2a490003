"""The store in PostgreSQL: what ``Store`` and ``Transaction`` promise, one statement a promise."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray

from cloud.adapters.postgres import ledger
from cloud.adapters.postgres.copy import READING_COLUMNS, stream
from cloud.adapters.postgres.pool import Pool, Session, translated
from cloud.adapters.postgres.sql import statements
from cloud.core.arrivals import DeadLetter, Life, Parcel
from cloud.core.detect_state import SENSORS_PER_HUB_MAX
from cloud.core.ledger import Entry
from cloud.core.rows import Rows
from cloud.ports import NOBODY
from wire.batch import Batch, Tombstone
from wire.doors import EVERY_DOOR
from wire.errors import InfrastructureError, PeerError
from wire.ids import BatchKey, HubId, Region, SensorId, UnixMs
from wire.metric import METRICS

_SQL: Final = statements(__file__)
_LOG_COLUMNS: Final = (
    "hub_id",
    "epoch",
    "sequence",
    "lane",
    "flags",
    "rows",
    "observed_from",
    "observed_to",
    "received_at",
    "stored_at",
    "crc",
)
_KEY: Final = ("hub_id", "epoch", "sequence")
_MARKS: Final = ("metrics", "quality", "samples")
KEPT_AT_ONCE: Final = 1_000


class PostgresStore:
    """One database. See ``Store``."""

    def __init__(self, pool: Pool, store_id: UUID) -> None:
        """Take a pool and the database's own name."""
        self._pool = pool
        self._months: set[str] = set()
        self._days: set[int] = set()
        self.store_id = store_id

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """See ``Store``."""
        with translated(), blamed():
            async with self._pool.acquire() as connection, connection.transaction():
                yield PostgresTransaction(connection)

    async def ensure_months(self, instants_ms: Collection[UnixMs]) -> None:
        """See ``Store``. Once a day, of whatever clock, the log's months by the server's own."""
        day = max(instants_ms, default=0) // 86_400_000
        if day not in self._days:
            with translated():
                await self._pool.execute(_SQL["ensure_log_months"])
            self._days.add(day)
        for instant_ms in sorted(instants_ms):
            instant = _time(instant_ms)
            month = f"{instant:%Y-%m}"
            if month not in self._months:
                with translated():
                    await self._pool.execute(_SQL["ensure_month"], instant)
                self._months.add(month)

    async def claim(
        self, sensor_ids: NDArray[np.int64], hub_ids: Sequence[HubId], regions: Sequence[Region]
    ) -> list[HubId]:
        """See ``Store``."""
        ids = sensor_ids.tolist()
        with translated():
            columns = (ids, list(hub_ids), list(regions))
            await self._pool.execute(_SQL["claim"], *columns, SENSORS_PER_HUB_MAX, EVERY_DOOR)
            found = await self._pool.fetch(_SQL["speakers"], ids)
        speakers = {row["sensor_id"]: row["hub_id"] for row in found}
        return [speakers.get(sensor_id, NOBODY) for sensor_id in ids]


class PostgresTransaction:
    """One transaction on one connection. See ``Transaction``."""

    def __init__(self, connection: Session) -> None:
        """Take a connection inside a transaction."""
        self._connection = connection

    async def entries(self, lives: Collection[Life]) -> dict[Life, Entry]:
        """See ``Transaction``."""
        return await ledger.entries(self._connection, lives)

    async def opened(self, hub_ids: Collection[HubId]) -> dict[HubId, int]:
        """See ``Transaction``."""
        return await ledger.opened(self._connection, hub_ids)

    async def contents(self, keys: Sequence[BatchKey]) -> dict[BatchKey, list[tuple[int, bool]]]:
        """See ``Transaction``."""
        return await ledger.contents(self._connection, keys)

    async def lock(self, lives: Mapping[Life, Region]) -> dict[Life, Entry]:
        """See ``Transaction``."""
        return await ledger.lock(self._connection, lives)

    async def settle(self, entries: Mapping[Life, Entry]) -> None:
        """See ``Transaction``."""
        await ledger.settle(self._connection, entries)

    async def add_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        """See ``Transaction``."""
        return await ledger.add_dead_letters(self._connection, letters)

    async def add_sheds(self, tombstones: Sequence[Tombstone]) -> None:
        """See ``Transaction``."""
        await ledger.add_sheds(self._connection, tombstones)

    async def savepoint(self) -> None:
        """See ``Transaction``."""
        await self._connection.execute(_SQL["savepoint"])

    async def roll_back(self) -> None:
        """See ``Transaction``."""
        await self._connection.execute(_SQL["roll_back"])

    async def add_readings(self, rows: Rows) -> SensorId | None:
        """See ``Transaction``."""
        try:
            await self._copy("sensor_readings", rows)
        except asyncpg.UniqueViolationError as clash:
            # The server names the instant only in words: Key (sensor_id, "timestamp")=(7, ...)
            return SensorId(int(str(clash.detail).split("=(")[1].split(",")[0]))
        return None

    async def stored(self, rows: Rows) -> Rows:
        """See ``Transaction``."""
        times = [_time(at_ms) for at_ms in rows.observed_at_ms.tolist()]
        found = await self._connection.fetch(_SQL["stored"], rows.sensor_ids.tolist(), times)
        return _rows(found)

    async def add_evidence(self, rows: Rows) -> int:
        """See ``Transaction``."""
        await self._connection.execute(_SQL["stage_evidence"])
        await self._connection.execute(_SQL["clear_stage"])
        await self._copy("evidence_stage", rows)
        return int((await self._connection.execute(_SQL["add_evidence"])).split()[-1])

    async def add_log(self, parcels: Sequence[Parcel]) -> None:
        """See ``Transaction``."""
        stored_at = await self._connection.fetchval(_SQL["now"])
        await self._connection.copy_records_to_table(
            "batch_log",
            columns=_LOG_COLUMNS,
            records=[_log_row(parcel, stored_at) for parcel in parcels],
        )

    async def add_refused(
        self, rows: Rows, reasons: Sequence[str], keys: Sequence[BatchKey]
    ) -> None:
        """See ``Transaction``."""
        await self._keep(
            "refused_readings",
            (*_KEY, "sensor_id", "timestamp", *_MARKS, "reason"),
            kept_records(rows, keys, reasons),
        )

    async def add_conflicts(self, rows: Rows, keys: Sequence[BatchKey]) -> None:
        """See ``Transaction``."""
        await self._keep(
            "reading_conflicts",
            (*_KEY, "sensor_id", "timestamp", *_MARKS),
            kept_records(rows, keys),
        )

    async def _keep(
        self, table: str, columns: Sequence[str], records: AsyncIterator[tuple[Any, ...]]
    ) -> None:
        """Put rows aside, each under the key of its batch.

        Raises:
            InfrastructureError: Another worker has settled one of these batches meanwhile.
        """
        try:
            await self._connection.copy_records_to_table(table, columns=columns, records=records)
        except asyncpg.UniqueViolationError as exc:
            raise InfrastructureError(f"database: {table}: another worker was faster") from exc

    async def _copy(self, table: str, rows: Rows) -> None:
        await self._connection.copy_to_table(
            table, source=stream(rows), columns=READING_COLUMNS, format="binary"
        )


@contextmanager
def blamed() -> Iterator[None]:
    """Raise what the database holds against the content itself as our own.

    Raises:
        PeerError: No retry can store this.
    """
    try:
        yield
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as exc:
        raise PeerError(f"database: {exc}") from exc


async def kept_records(
    rows: Rows, keys: Sequence[BatchKey], reasons: Sequence[str] | None = None
) -> AsyncIterator[tuple[Any, ...]]:
    """Yield rows kept aside, one record each, absent values as NULL.

    A record costs microseconds, so a flush of nothing else would hold up its process for a second:
    after every ``KEPT_AT_ONCE`` others get their turn.
    """
    for low in range(0, len(rows), KEPT_AT_ONCE):
        part = rows.take(slice(low, low + KEPT_AT_ONCE))
        wide = part.wide().astype(object)
        wide[wide != wide] = None
        columns = (part.batch, part.sensor_ids, part.observed_at_ms, part.quality, part.samples)
        why = [()] * len(part) if reasons is None else [(r,) for r in reasons[low:][: len(part)]]
        for values, reason, batch, sensor_id, at_ms, quality, samples in zip(
            wide.tolist(), why, *(column.tolist() for column in columns), strict=True
        ):
            yield (*keys[batch], sensor_id, _time(at_ms), values, quality, samples, *reason)
        await asyncio.sleep(0)


def _rows(found: Sequence[Any]) -> Rows:
    """Return table rows as columns; they came in no batch, so ``batch`` is -1."""
    columns = list(zip(*(row.values() for row in found), strict=True)) or [()] * (METRICS + 5)
    numbers = [np.array(column, np.float32) for column in columns[2 : METRICS + 2]]
    quality, score, samples = columns[METRICS + 2 :]
    return Rows(
        np.array(columns[0], np.int64),
        np.array([_ms(instant) for instant in columns[1]], np.int64),
        tuple(range(METRICS)),
        np.array(numbers, np.float32),
        np.array(quality, np.int16),
        np.array(score, np.float32),
        np.array(samples, np.int32),
        np.full(len(found), -1, np.int32),
    )


def _log_row(parcel: Parcel, stored_at: datetime) -> tuple[Any, ...]:
    received_at = _time(parcel.received_at_ms)
    match parcel.content:
        case Batch(observed_at_ms=observed):
            span = _time(int(observed.min())), _time(int(observed.max()))
        case Tombstone(observed_from_ms=first, observed_to_ms=last):
            span = _time(first), _time(last)
        case _:
            span = received_at, received_at
    seal = parcel.seal
    marks = (int(seal.kind), int(seal.flags), parcel.rows)
    return (*seal.key, *marks, *span, received_at, stored_at, parcel.crc)


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1_000, UTC).replace(microsecond=at_ms % 1_000 * 1_000)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000)
