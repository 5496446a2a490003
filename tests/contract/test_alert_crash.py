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
    """A real alert store whose worker dies before, between or after its statements."""

    store: TablesDetect
    dies_at: int
    calls: int = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Mortal"]:
        async with self.store.transaction() as inner:
            self.inner = inner
            yield self
            self.step()
        self.step()

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed

    async def unsettled(self, limit: int) -> Any:
        self.step()
        return await self.inner.unsettled(limit)

    async def alerts(self, keys: Any) -> Any:
        self.step()
        return await self.inner.alerts(keys)

    async def write(self, decision: Any, findings: Any) -> None:
        self.step()
        await self.inner.write(decision, findings)


async def test_a_worker_that_dies_between_statements_leaves_all_or_nothing(
    postgres_server: Server,
) -> None:
    for dies_at in range(1, 6):
        async with postgres_server.migrated() as url, pool(url) as opened:
            store, clock = TablesDetect(opened), HandClock()
            detect = Detect(store, Woken(), clock, lambda _: True)
            await detect.take(
                [lent(ph_batch(0, [HIGH, HIGH])), lent(ph_batch(1, [GOOD] * 2, start=2))]
            )
            with pytest.raises(Killed):
                await Alerts(cast("AlertStore", Mortal(store, dies_at)), clock).settle_all()
            await Alerts(store, clock).settle_all()
            [alert] = await store.all_alerts()
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
