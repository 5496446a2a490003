"""Memory twins of detection's and alerts' store, and short names for suspicious water."""

import itertools
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cloud.adapters.postgres.alert import AlertTables, alert_of
from cloud.adapters.postgres.detect import DetectTables
from cloud.adapters.postgres.pool import Pool
from cloud.core.alert import Alert, AlertKey, Decision, Unsettled
from cloud.core.detect import Detector
from cloud.core.detect_bands import BandBook
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
from cloud.core.detect_rows import Rows, as_rows, rows_of
from cloud.core.detect_state import HubState
from tests.support.builders import NOON, NORTH, a_batch, a_seal
from water.finding import Finding
from wire import ranges
from wire.batch import Batch, Kind, Tombstone
from wire.codec import encode
from wire.errors import InfrastructureError
from wire.ids import Epoch, HubId, UnixMs
from wire.metric import METRICS
from wire.ranges import Ranges
from wire.topics import Channel, Lane, topic


class Lost(InfrastructureError):
    """The fault a test asked for."""


class Killed(BaseException):
    """The process dies here: nothing of it may catch this."""


@dataclass
class HandClock:
    """A clock moved by hand."""

    at_ms: int = NOON

    def now_ms(self) -> UnixMs:
        return UnixMs(self.at_ms)

    def steady_ms(self) -> int:
        return self.at_ms

    async def sleep_ms(self, wait_ms: int) -> None:
        self.at_ms += wait_ms


@dataclass
class Lent:
    """A delivery that knows whether it was acknowledged."""

    topic: str
    body: bytes
    received_at_ms: UnixMs = NOON
    acked: int = 0

    async def ack(self) -> None:
        self.acked += 1


def lent(batch: Batch | Tombstone, channel: Channel = Channel.BATCH) -> Lent:
    """Return a batch as the broker would hand it over."""
    return Lent(topic(NORTH, batch.key.hub_id, channel), encode(batch))


@dataclass
class Woken:
    """The lane, counting."""

    times: int = 0
    away: bool = False

    async def send(self, lane: Lane, body: bytes) -> None:
        if self.away:
            raise Lost("no broker")
        assert lane is Lane.HIGH
        self.times += 1


@dataclass
class MemoryDetect:
    """Twin of ``DetectTables`` and ``AlertTables`` over one make-believe database.

    ``calls`` counts every await of a neighbour; ``kill_at`` and ``fail_at`` name one of them.
    """

    clock: HandClock = field(default_factory=HandClock)
    book: BandBook = field(default_factory=BandBook)
    states: dict[HubId, tuple[bytes, int]] = field(default_factory=dict)
    evaluated: dict[tuple[HubId, Epoch], Ranges] = field(default_factory=dict)
    findings: dict[UUID, Found] = field(default_factory=dict)
    found_at_ms: dict[UUID, int] = field(default_factory=dict)
    settled: set[UUID] = field(default_factory=set)
    alerts: dict[int, Alert] = field(default_factory=dict)
    told: list[int] = field(default_factory=list)
    stored: dict[tuple[HubId, Epoch, int], tuple[Batch | Tombstone, int]] = field(
        default_factory=dict
    )
    owners: dict[int, HubId] = field(default_factory=dict)
    calls: int = 0
    kill_at: int | None = None
    fail_at: int | None = None
    _versions: Any = field(default_factory=lambda: itertools.count(1))

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        if self.calls == self.fail_at:
            raise Lost("as asked")

    async def receive(self, batch: Batch | Tombstone) -> None:
        """Store a batch as ingest would, now."""
        key = batch.key
        self.stored[key.hub_id, key.epoch, key.sequence] = batch, self.clock.at_ms
        if isinstance(batch, Batch):
            for sensor_id in batch.sensor_ids.tolist():
                self.owners.setdefault(sensor_id, key.hub_id)

    async def claim(self, sensor_id: int, hub_id: HubId) -> None:
        """Let a hub speak for a sensor."""
        self.owners[sensor_id] = hub_id

    async def age(self) -> None:
        """Let everything stored become overdue."""
        self.clock.at_ms += OVERDUE_MS + 1_000

    async def found(self) -> list[UUID]:
        """Return the ids of all findings."""
        return list(self.findings)

    async def covered(self, hub_id: HubId, epoch: Epoch) -> Ranges:
        """Return what is evaluated of an epoch."""
        return self.evaluated.get((hub_id, epoch), ())

    async def all_alerts(self) -> list[Alert]:
        """Return every alert, oldest first."""
        return list(self.alerts.values())

    async def bands(self) -> BandBook:
        self.step()
        return self.book

    async def remembered(self, hub_id: HubId) -> Remembered:
        self.step()
        evaluated = {epoch: r for (hub, epoch), r in self.evaluated.items() if hub == hub_id}
        state = self.states.get(hub_id)
        return Remembered(*state, evaluated) if state else Remembered(evaluated=evaluated)

    async def foreign(self, hub_id: HubId, sensor_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        self.step()
        strangers = [s for s in sensor_ids.tolist() if self.owners.get(s, hub_id) != hub_id]
        return np.array(strangers, np.int64)

    async def commit(self, advances: Sequence[Advance]) -> Committed | Superseded:
        self.step()
        taken = {
            a.hub_id for a in advances if self.states.get(a.hub_id, (None, None))[1] != a.version
        }
        if taken:
            return Superseded(frozenset(taken))
        for advance in advances:
            self.states[advance.hub_id] = advance.state, next(self._versions)
            for epoch, added in advance.evaluated.items():
                key = advance.hub_id, epoch
                self.evaluated[key] = ranges.union(self.evaluated.get(key, ()), added)
            for found in advance.found:
                json.dumps(found.finding.evidence, allow_nan=False)
                if self.findings.setdefault(found.finding.finding_id, found) is found:
                    self.found_at_ms[found.finding.finding_id] = self.clock.at_ms
        versions = {a.hub_id: self.states[a.hub_id][1] for a in advances}
        self.step()  # the answer may be lost after the commit
        return Committed(versions)

    async def due(self) -> Sequence[Due]:
        self.step()
        received: dict[tuple[HubId, Epoch], list[int]] = {}
        for hub_id, epoch, sequence in self.stored:
            received.setdefault((hub_id, epoch), []).append(sequence)
        left = {
            life: ranges.minus(ranges.from_numbers(those), self.evaluated.get(life, ()))
            for life, those in received.items()
        }
        return [Due(*life, sequences) for life, sequences in sorted(left.items()) if sequences]

    async def logged(self, due: Due, limit: int) -> Sequence[Logged]:
        self.step()
        those = sorted(
            (sequence, *self.stored[hub_id, epoch, sequence])
            for hub_id, epoch, sequence in self.stored
            if (hub_id, epoch) == (due.hub_id, due.epoch)
            and ranges.contains(due.sequences, sequence)
        )
        return [self._log(batch, at_ms) for _, batch, at_ms in those[:limit]]

    def _log(self, batch: Batch | Tombstone, at_ms: int) -> Logged:
        span = (NOON, NOON)
        if isinstance(batch, Batch):
            times = batch.observed_at_ms
            span = UnixMs(int(times.min())), UnixMs(int(times.max()))
        overdue = self.clock.at_ms - at_ms > OVERDUE_MS
        seal = batch.seal
        return Logged(seal.key, seal.kind, seal.flags, *span, UnixMs(at_ms), overdue)

    async def readings(self, batch: Logged) -> Rows:
        self.step()
        kept, _ = self.stored[batch.key]
        assert isinstance(kept, Batch)
        return rows_of(kept)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["_AlertWork"]:
        self.step()
        work = _AlertWork(self, dict(self.alerts), set(self.settled), list(self.told))
        yield work
        self.step()
        self.alerts, self.settled, self.told = work.kept, work.done, work.said
        self.step()


@dataclass
class _AlertWork:
    store: MemoryDetect
    kept: dict[int, Alert]
    done: set[UUID]
    said: list[int]

    async def unsettled(self, limit: int) -> Sequence[Unsettled]:
        self.store.step()
        waiting = [found for each, found in self.store.findings.items() if each not in self.done]
        return [
            unsettled(found, self.store.found_at_ms[found.finding.finding_id])
            for found in waiting[:limit]
        ]

    async def alerts(self, keys: Collection[AlertKey]) -> Sequence[Alert]:
        self.store.step()
        return [alert for alert in self.kept.values() if alert.key in keys]

    async def write(self, decision: Decision, findings: Sequence[Unsettled]) -> None:
        self.store.step()
        for alert in decision.alerts:
            alert_id = alert.alert_id or len(self.kept) + 1
            self.kept[alert_id] = replace(alert, alert_id=alert_id)
            self.said.append(alert_id)
        opened = [a.key for a in self.kept.values() if a.resolved_observed_at_ms is None]
        assert len(opened) == len(set(opened)), "two open alerts of one key"
        self.done |= {finding.finding_id for finding in findings}


def unsettled(found: Found, found_at_ms: int = NOON) -> Unsettled:
    """Return a finding as the outbox hands it over."""
    finding = found.finding
    return Unsettled(
        finding.finding_id,
        AlertKey(finding.sensor_id, str(finding.cause), finding.metric),
        finding.severity,
        finding.observed_at_ms,
        finding.ended,
        finding.historical,
        finding.evidence,
        found.received_at_ms,
        UnixMs(found_at_ms),
    )


def ph_rows(
    values: ArrayLike, *, sensor: int = 1000, start: int = 0, history: bool = False, step_s: int = 1
) -> Rows:
    """Return one sensor's pH, one value a second from ``start`` seconds past noon."""
    ph = np.atleast_1d(np.asarray(values, np.float32))
    columns = np.full((len(ph), METRICS), np.nan, np.float32)
    columns[:, 0] = ph
    times = NOON + (start + np.arange(len(ph)) * step_s) * 1_000
    none, one = np.zeros(len(ph), np.int16), np.ones(len(ph), np.int16)
    return as_rows(np.full(len(ph), sensor), times, columns, none, one, history=history)


def ph_batch(
    sequence: int,
    values: ArrayLike,
    *,
    start: int = 0,
    kind: Kind = Kind.ROUTINE,
    sensor: int = 1000,
) -> Batch:
    """Return a batch of one sensor's pH, one value a second from ``start`` seconds past noon."""
    ph = np.atleast_1d(np.asarray(values))
    times = NOON + (start + np.arange(len(ph))) * 1_000
    seal = a_seal(sequence, kind=kind)
    return a_batch(seal=seal, sensors=np.full(len(ph), sensor), times=times, ph=ph)


def judged(*parts: Rows, now_ms: int = NOON, book: BandBook | None = None) -> list[Finding]:
    """Return what a fresh detector finds in some rows, part after part."""
    detector = Detector(HubState(), book or BandBook())
    return [f for rows in parts for f in detector.evaluate(rows, UnixMs(now_ms))]


class TablesDetect(DetectTables):
    """``DetectTables`` and ``AlertTables`` on a real database, with the twin's extra doors."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._db = pool
        self.transaction = AlertTables(pool).transaction

    async def receive(self, batch: Batch | Tombstone) -> None:
        """Store a batch as ingest would, now."""
        key, rows = batch.key, len(batch) if isinstance(batch, Batch) else 0
        span: tuple[int, int] = (NOON, NOON)
        async with self._db.acquire() as connection, connection.transaction():
            if isinstance(batch, Batch):
                span = int(batch.observed_at_ms.min()), int(batch.observed_at_ms.max())
                await connection.execute("select ensure_month(to_timestamp($1))", span[0] / 1_000)
                await connection.execute("select ensure_month(to_timestamp($1))", span[1] / 1_000)
                for sensor_id in set(batch.sensor_ids.tolist()):
                    await connection.execute(_CLAIM, sensor_id, key.hub_id)
                for row in zip(*_columns(batch), strict=True):
                    table = _TABLES[batch.seal.kind]
                    await connection.execute(_READING.format(table=table), *row)
            await connection.execute("select ensure_month(now())")
            await connection.execute(
                _LOG, *key, int(batch.seal.kind), int(batch.seal.flags), rows, *span
            )
            await connection.execute(_RECEIVED, key.hub_id, key.epoch, key.sequence)

    async def claim(self, sensor_id: int, hub_id: HubId) -> None:
        """Let a hub speak for a sensor."""
        await self._db.execute(_CLAIM, sensor_id, hub_id)

    async def age(self) -> None:
        """Let everything stored become overdue."""
        await self._db.execute("update batch_log set stored_at = stored_at - interval '11 s'")

    async def found(self) -> list[UUID]:
        """Return the ids of all findings."""
        return [UUID(str(r[0])) for r in await self._db.fetch("select finding_id from findings")]

    async def covered(self, hub_id: HubId, epoch: Epoch) -> Ranges:
        """Return what is evaluated of an epoch."""
        remembered = await self.remembered(hub_id)
        return remembered.evaluated.get(epoch, ())

    async def all_alerts(self) -> list[Alert]:
        """Return every alert, oldest first."""
        rows = await self._db.fetch("select * from contamination_alerts order by alert_id")
        return [alert_of(row) for row in rows]


def _columns(batch: Batch) -> tuple[list[Any], ...]:
    ph = [None if np.isnan(v) else float(v) for v in batch.values[:, 0]]
    times = batch.observed_at_ms.tolist()
    return batch.sensor_ids.tolist(), times, ph, batch.quality.tolist(), batch.samples.tolist()


_TABLES = {Kind.ROUTINE: "sensor_readings", Kind.EVIDENCE: "evidence_readings"}
_CLAIM = """insert into sensors (sensor_id, hub_id, region) values ($1, $2, 'north')
on conflict do nothing"""
_READING = """insert into {table} (sensor_id, timestamp, ph_level, quality, samples)
values ($1, to_timestamp($2::bigint / 1000.0), $3, $4, $5) on conflict do nothing"""
_LOG = """insert into batch_log values ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / 1000.0),
to_timestamp($8::bigint / 1000.0), now(), now(), 0)"""
_RECEIVED = """insert into hub_ledger (hub_id, epoch, region, received)
values ($1, $2, 'north', int8multirange(int8range($3::bigint, $3::bigint + 1)))
on conflict (hub_id, epoch)
do update set received = hub_ledger.received + excluded.received"""
