"""Whatever dies wherever: nothing doubled, nothing forgotten. Over the twin and PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from cloud.adapters.postgres.pool import pool
from cloud.alert.ports import AlertStore
from cloud.alert.service import Alerts
from cloud.core.alert import Alert
from cloud.detect.service import Detect
from tests.support.detect import (
    HandClock,
    Killed,
    Lost,
    MemoryDetect,
    TablesDetect,
    Woken,
    lent,
    ph_batch,
)
from tests.support.postgres import Server
from wire.batch import Kind
from wire.topics import Channel

GOOD, HIGH = 7.0, 9.31


def deliveries() -> list[Any]:
    return [
        lent(ph_batch(0, [GOOD, HIGH])),
        lent(ph_batch(1, [HIGH, HIGH], start=2, kind=Kind.EVIDENCE), Channel.URGENT),
        lent(ph_batch(2, [GOOD, GOOD, GOOD], start=4)),
        lent(ph_batch(3, [HIGH, HIGH], start=10)),
    ]


async def run(store: Any, clock: HandClock, mail: Sequence[Any]) -> None:
    """One life of both stages: whatever is not acknowledged is delivered again."""
    detect, alerts = Detect(store, Woken(), clock, lambda _: True), Alerts(store, clock)
    await detect.refresh()
    for delivery in mail:
        if not delivery.acked:
            await detect.take([delivery])
            await alerts.settle_all()
    clock.at_ms += 2_000
    await detect.settle()
    await alerts.settle_all()


def outline(alerts: list[Alert]) -> list[tuple[object, ...]]:
    return [
        (a.opened_by, a.opened_observed_at_ms, a.resolved_observed_at_ms, a.findings, a.severity)
        for a in alerts
    ]


@pytest.mark.parametrize("fault", ["kill_at", "fail_at"])
async def test_a_death_at_any_await_changes_no_finding_and_no_alert(fault: str) -> None:
    calm = MemoryDetect()
    await run(calm, calm.clock, deliveries())
    assert len(calm.findings) == 3
    assert calm.calls > 20
    for at in range(1, calm.calls + 1):
        store, mail = MemoryDetect(), deliveries()
        setattr(store, fault, at)
        with pytest.raises((Killed, Lost)):
            await run(store, store.clock, mail)
        await run(store, store.clock, mail)
        assert set(store.findings) == set(calm.findings), at
        assert outline(list(store.alerts.values())) == outline(list(calm.alerts.values())), at
        assert all(delivery.acked for delivery in mail), at


@dataclass
class Mortal:
    """A real connection whose process dies before one of its statements."""

    connection: Any
    dies_at: int
    calls: int = 0

    async def execute(self, *statement: Any) -> Any:
        self.step()
        return await self.connection.execute(*statement)

    async def fetch(self, *statement: Any) -> Any:
        self.step()
        return await self.connection.fetch(*statement)

    async def fetchval(self, *statement: Any) -> Any:
        self.step()
        return await self.connection.fetchval(*statement)

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed


@dataclass
class MortalStore:
    """A real alert store over connections that die."""

    store: TablesDetect
    dies_at: int

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.store.transaction() as inner:
            mortal = Mortal(inner.connection, self.dies_at)
            inner.connection = mortal
            yield inner
            mortal.step()


async def test_a_worker_that_dies_between_statements_leaves_all_or_nothing(
    postgres_server: Server,
) -> None:
    async with postgres_server.migrated() as url, pool(url) as opened:
        store, clock = TablesDetect(opened), HandClock()
        detect = Detect(store, Woken(), clock, lambda _: True)
        for dies_at in range(1, 5):  # unsettled, alerts, write, commit
            sensor = 1000 + dies_at
            breach, end = [HIGH, HIGH, GOOD, GOOD], 2 * dies_at
            await detect.take([lent(ph_batch(end, breach, sensor=sensor))])
            with pytest.raises(Killed):
                await Alerts(cast("AlertStore", MortalStore(store, dies_at)), clock).settle_all()
            assert len(await store.all_alerts()) == dies_at - 1, dies_at
            await Alerts(store, clock).settle_all()
            alert = (await store.all_alerts())[-1]
            assert (alert.findings, alert.resolved_observed_at_ms is None) == (2, False)


async def test_a_commit_whose_answer_was_lost_is_acknowledged_and_found_once() -> None:
    store, delivery = MemoryDetect(), lent(ph_batch(0, [HIGH, HIGH]))
    detect = Detect(store, Woken(), store.clock, lambda _: True)
    store.fail_at = 4  # remembered, foreign, commit, its answer
    with pytest.raises(Lost):
        await detect.take([delivery])
    assert (len(store.findings), delivery.acked) == (1, 0)
    await detect.take([delivery])
    assert (len(store.findings), delivery.acked) == (1, 1)


async def test_without_a_broker_to_wake_anybody_findings_are_still_committed() -> None:
    store, delivery = MemoryDetect(), lent(ph_batch(0, [HIGH, HIGH]))
    await Detect(store, Woken(away=True), store.clock, lambda _: True).take([delivery])
    assert (len(store.findings), delivery.acked) == (1, 1)
