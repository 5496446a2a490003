"""Detection's store in PostgreSQL."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import numpy as np
from numpy.typing import NDArray

from cloud.adapters.postgres.pool import Pool, translated
from cloud.adapters.postgres.sql import statements
from cloud.core.detect_bands import BandBook, StoredBand
from cloud.core.detect_ledger import (
    OVERDUE_MS,
    Advance,
    Committed,
    Due,
    Found,
    Logged,
    Remembered,
    Superseded,
)
from cloud.core.detect_rows import Rows, as_rows
from water.bands import BandRow
from wire.batch import Flag, Kind
from wire.ids import BatchKey, Epoch, HubId, UnixMs
from wire.metric import BY_NAME, COLUMNS, METRICS
from wire.ranges import Ranges

ROWS_PER_READ_MAX: Final = 20_000
_SQL: Final = statements(__file__)
_TABLES: Final = {Kind.ROUTINE: "sensor_readings", Kind.EVIDENCE: "evidence_readings"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


class DetectTables:
    """See ``cloud.detect.ports.DetectStore``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def bands(self) -> BandBook:
        """See ``DetectStore``."""
        with translated():
            stored = [_band(row) for row in await self._pool.fetch(_SQL["bands"])]
            sites = {
                row["sensor_id"]: row["site_id"] for row in await self._pool.fetch(_SQL["sites"])
            }
        return BandBook(stored, sites)

    async def remembered(self, hub_id: HubId) -> Remembered:
        """See ``DetectStore``."""
        with translated():
            async with self._pool.acquire() as connection, _one_moment(connection):
                state = await connection.fetchrow(_SQL["state"], hub_id)
                rows = await connection.fetch(_SQL["evaluated"], hub_id)
        evaluated = {Epoch(row["epoch"]): _ranges(row["evaluated"]) for row in rows}
        if state is None:
            return Remembered(evaluated=evaluated)
        return Remembered(state["state"], state["updated_at"], evaluated)

    async def foreign(self, hub_id: HubId, sensor_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """See ``DetectStore``."""
        if not len(sensor_ids):
            return sensor_ids
        with translated():
            rows = await self._pool.fetch(_SQL["foreign"], hub_id, sensor_ids.tolist())
        return np.array([row["sensor_id"] for row in rows], np.int64)

    async def commit(self, advances: Sequence[Advance]) -> Committed | Superseded:
        """See ``DetectStore``."""
        ordered = sorted(advances, key=lambda advance: advance.hub_id)
        found = any(advance.found for advance in advances)
        with translated():
            async with self._pool.acquire() as connection:
                try:
                    await connection.execute(_SQL["begin" if found else "begin_calm"])
                    outcome = await _commit(connection, ordered)
                    done = isinstance(outcome, Committed)
                    await connection.execute("commit" if done else "rollback")
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("rollback")
                    raise
                return outcome

    async def due(self) -> Sequence[Due]:
        """See ``DetectStore``."""
        with translated():
            rows = await self._pool.fetch(_SQL["due"])
        return [
            Due(HubId(row["hub_id"]), Epoch(row["epoch"]), _ranges(row["sequences"]))
            for row in rows
        ]

    async def logged(self, due: Due, limit: int) -> Sequence[Logged]:
        """See ``DetectStore``."""
        wanted = _multirange(due.sequences)
        with translated():
            rows = await self._pool.fetch(
                _SQL["logged"], due.hub_id, due.epoch, wanted, limit, float(OVERDUE_MS)
            )
        return [
            Logged(
                BatchKey(due.hub_id, due.epoch, row["sequence"]),
                Kind(row["lane"]),
                Flag(row["flags"]),
                _ms(row["observed_from"]),
                _ms(row["observed_to"]),
                _ms(row["received_at"]),
                row["overdue"],
            )
            for row in rows
        ]

    async def readings(self, batch: Logged) -> Rows:
        """See ``DetectStore``."""
        columns = ", ".join(f"reading.{column}" for column in COLUMNS)
        sql = _SQL["readings"].format(columns=columns, table=_TABLES[batch.kind])
        span = _instant(batch.observed_from_ms), _instant(batch.observed_to_ms)
        rows: list[asyncpg.Record] = []
        after: tuple[int, datetime] = (-1, _EPOCH)
        with translated():
            while True:
                page = await self._pool.fetch(
                    sql, batch.key.hub_id, *span, *after, ROWS_PER_READ_MAX
                )
                rows.extend(page)
                if len(page) < ROWS_PER_READ_MAX:
                    break
                after = page[-1]["sensor_id"], page[-1]["timestamp"]
        return as_rows(
            np.array([row["sensor_id"] for row in rows], np.int64),
            np.array([_ms(row["timestamp"]) for row in rows], np.int64),
            np.array([row["metrics"] for row in rows], np.float32).reshape(-1, METRICS),
            np.array([row["quality"] for row in rows], np.int16),
            np.array([row["samples"] for row in rows], np.int32),
            history=Flag.BACKFILL in batch.flags,
        )


def _one_moment(connection: Any) -> Any:
    """Return a transaction in which all statements see the same rows."""
    return connection.transaction(isolation="repeatable_read", readonly=True)


async def _commit(connection: Any, advances: Sequence[Advance]) -> Committed | Superseded:
    moved = await _move(connection, advances)
    if len(moved) < len(advances):
        return Superseded(frozenset(each.hub_id for each in advances) - moved.keys())
    steps = [(each.hub_id, *step) for each in advances for step in each.evaluated.items()]
    if steps:
        hubs, epochs, sequences = zip(*steps, strict=True)
        texts = [_multirange(those) for those in sequences]
        await connection.execute(_SQL["add_evaluated"], hubs, epochs, texts)
    rows = [_finding(found) for advance in advances for found in advance.found]
    if rows:
        await connection.execute(_SQL["add_findings"], *map(list, zip(*rows, strict=True)))
    return Committed(moved)


async def _move(connection: Any, advances: Iterable[Advance]) -> dict[HubId, datetime]:
    older = [each for each in advances if each.version is not None]
    fresh = [each for each in advances if each.version is None]
    moved: list[asyncpg.Record] = []
    if older:
        columns = zip(*((each.hub_id, each.state, each.version) for each in older), strict=True)
        moved += await connection.fetch(_SQL["move_states"], *map(list, columns))
    if fresh:
        columns = zip(*((each.hub_id, each.state) for each in fresh), strict=True)
        moved += await connection.fetch(_SQL["first_states"], *map(list, columns))
    return {HubId(row["hub_id"]): row["updated_at"] for row in moved}


def _finding(found: Found) -> tuple[Any, ...]:
    finding, key = found.finding, found.key
    evidence = {**finding.evidence, "received_ms": found.received_at_ms}
    return (
        finding.finding_id,
        finding.sensor_id,
        str(finding.cause),
        finding.metric,
        finding.severity,
        _instant(finding.observed_at_ms),
        finding.historical,
        finding.ended,
        json.dumps(evidence, separators=(",", ":"), allow_nan=False),
        key.hub_id,
        key.epoch,
        key.sequence,
    )


def _band(row: asyncpg.Record) -> StoredBand:
    low, high = (None if row[edge] is None else _exact(row[edge]) for edge in ("low", "high"))
    band = BandRow(
        BY_NAME[row["metric"]],
        low,
        high,
        _exact(row["dead_band"]),
        row["severity"],
        row["jurisdiction"],
        row["source"],
        row["verified"],
    )
    return StoredBand(band, row["version"], row["site_id"])


def _exact(real: float) -> float:
    """Return the decimal a ``real`` was written as."""
    return float(str(np.float32(real)))


def _ranges(multirange: Sequence[Any]) -> Ranges:
    return tuple((part.lower, part.upper) for part in multirange)


def _multirange(those: Ranges) -> str:
    return "{" + ",".join(f"[{low},{high})" for low, high in those) + "}"


def _ms(instant: datetime) -> UnixMs:
    return UnixMs((instant - _EPOCH) // _MS)


def _instant(at_ms: int) -> datetime:
    return _EPOCH + at_ms * _MS
