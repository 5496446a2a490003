"""Alerts in PostgreSQL: the outbox, the alerts, and word of them on commit."""

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from cloud.adapters.postgres.pool import Pool, translated
from cloud.adapters.postgres.sql import statements
from cloud.core.alert import Alert, AlertKey, Decision, Unsettled
from wire.ids import SensorId, UnixMs

_SQL: Final = statements(__file__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_ROW: Final = 13  # columns of a new alert


class AlertTables:
    """See ``cloud.alert.ports.AlertStore``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["_Transaction"]:
        """See ``AlertStore``."""
        with translated():
            async with self._pool.acquire() as connection:
                try:
                    await connection.execute(_SQL["begin_alone"])
                    yield _Transaction(connection)
                    await connection.execute("commit")
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("rollback")
                    raise


class _Transaction:
    """See ``cloud.alert.ports.AlertTransaction``."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def unsettled(self, limit: int) -> Sequence[Unsettled]:
        """See ``AlertTransaction``."""
        rows = await self.connection.fetch(_SQL["unsettled"], limit)
        return [_unsettled(row) for row in rows]

    async def alerts(self, keys: Collection[AlertKey]) -> Sequence[Alert]:
        """See ``AlertTransaction``."""
        columns = [list(column) for column in zip(*sorted(keys), strict=True)]
        rows = await self.connection.fetch(_SQL["alerts"], *columns)
        return [alert_of(row) for row in rows]

    async def write(self, decision: Decision, findings: Sequence[Unsettled]) -> None:
        """See ``AlertTransaction``: ends before beginnings, as one alert of a key may be open."""
        old = [alert for alert in decision.alerts if alert.alert_id is not None]
        if old:
            columns = zip(*(_change(alert) for alert in old), strict=True)
            await self.connection.execute(_SQL["change"], *map(list, columns))
        new = [_row(alert) for alert in decision.alerts if alert.alert_id is None]
        opened = [[row[column] for row in new] for column in range(_ROW)]
        settled = [each.finding_id for each in findings]
        await self.connection.execute(_SQL["write"], *opened, settled, [*map(_word, old)])


def _unsettled(row: asyncpg.Record) -> Unsettled:
    evidence = json.loads(row["evidence"])
    received_ms = evidence.pop("received_ms", None)
    return Unsettled(
        UUID(bytes=row["finding_id"].bytes),
        AlertKey(SensorId(row["sensor_id"]), row["cause"], row["metric"]),
        row["severity"],
        _ms(row["observed_at"]),
        row["ended"],
        row["historical"],
        evidence,
        received_ms,
        _ms(row["found_at"]),
    )


def alert_of(row: asyncpg.Record) -> Alert:
    """Return a row of ``contamination_alerts``, its explanation left where it is."""
    ended = row["resolved_observed_at"] or row["resolved_at"]
    return Alert(
        row["alert_id"],
        AlertKey(SensorId(row["sensor_id"]), row["contaminant_type"], row["metric"]),
        UUID(bytes=row["opened_by"].bytes),
        _ms(row["timestamp"]),
        row["severity_level"],
        row["historical"],
        row["findings"],
        _ms(row["last_observed_at"]),
        None if ended is None else _ms(ended),
    )


def _change(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.alert_id,
        alert.severity,
        alert.historical,
        alert.findings,
        _instant(alert.last_observed_at_ms),
        _instant_or_none(alert.resolved_observed_at_ms),
        _instant(alert.opened_observed_at_ms),
    )


def _row(alert: Alert) -> tuple[Any, ...]:
    return (
        alert.key.sensor_id,
        _instant(alert.opened_observed_at_ms),
        alert.key.cause,
        alert.key.metric,
        alert.severity,
        alert.kind,
        alert.historical,
        alert.resolved_observed_at_ms is not None,
        alert.opened_by,
        json.dumps(alert.explanation, separators=(",", ":"), allow_nan=False),
        alert.findings,
        _instant(alert.last_observed_at_ms),
        _instant_or_none(alert.resolved_observed_at_ms),
    )


def _word(alert: Alert) -> str:
    return json.dumps(
        {
            "alert_id": alert.alert_id,
            "change": "changed" if alert.resolved_observed_at_ms is None else "resolved",
            "kind": alert.kind,
            "severity": alert.severity,
            "historical": alert.historical,
        }
    )


def _ms(instant: datetime) -> UnixMs:
    return UnixMs((instant - _EPOCH) // _MS)


def _instant(at_ms: int) -> datetime:
    return _EPOCH + at_ms * _MS


def _instant_or_none(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else _instant(at_ms)
