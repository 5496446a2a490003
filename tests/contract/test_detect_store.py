"""Detection and alerts over the memory twin and over PostgreSQL: the same laws."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from cloud.adapters.postgres.pool import pool
from cloud.alert.service import Alerts
from cloud.core.detect_bands import BandBook
from cloud.core.detect_ledger import Advance, Committed, Superseded
from cloud.detect.service import Detect
from cloud.detect.sweep import Sweep
from tests.support.builders import EPOCH, HUB, a_tombstone
from tests.support.detect import (
    HandClock,
    MemoryDetect,
    TablesDetect,
    Woken,
    judged,
    lent,
    ph_batch,
    ph_rows,
)
from tests.support.postgres import Servers, flavours
from wire.batch import Kind
from wire.ids import HubId
from wire.topics import Channel

World: TypeAlias = MemoryDetect | TablesDetect
HIGH, GOOD = 9.31, 7.0


@pytest.fixture(params=["memory", *flavours()])
async def store(request: pytest.FixtureRequest, postgres_servers: Servers) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryDetect()
        return
    async with postgres_servers.of(request.param).migrated() as url, pool(url) as opened:
        yield TablesDetect(opened)


@pytest.fixture
def clock(store: World) -> HandClock:
    return store.clock if isinstance(store, MemoryDetect) else HandClock()


@pytest.fixture
def detect(store: World, clock: HandClock) -> Detect:
    return Detect(store, Woken(), clock, lambda _: True)


async def test_the_default_bands_are_those_of_the_code(store: World) -> None:
    assert await store.bands() == BandBook()


async def test_an_urgent_batch_is_committed_before_it_is_acknowledged(
    store: World, detect: Detect
) -> None:
    delivery = lent(ph_batch(0, [HIGH, HIGH], kind=Kind.EVIDENCE), Channel.URGENT)
    await detect.take([delivery])
    assert delivery.acked == 1
    assert len(await store.found()) == 1
    assert await store.covered(HUB, EPOCH) == ((0, 1),)


async def test_a_healthy_batch_waits_for_the_others_and_is_committed_in_time(
    store: World, detect: Detect, clock: HandClock
) -> None:
    deliveries = [lent(ph_batch(n, [GOOD], start=n)) for n in range(3)]
    await detect.take(deliveries)
    assert [d.acked for d in deliveries] == [0, 0, 0]
    clock.at_ms += 1_000
    await detect.settle()
    assert [d.acked for d in deliveries] == [1, 1, 1]
    assert await store.covered(HUB, EPOCH) == ((0, 3),)


async def test_a_resent_batch_is_skipped_and_acknowledged(
    store: World, detect: Detect, clock: HandClock
) -> None:
    versions = []
    for _ in range(2):
        delivery = lent(ph_batch(0, [HIGH, HIGH]))
        await detect.take([delivery])
        clock.at_ms += 1_000
        await detect.settle()
        assert delivery.acked == 1
        versions.append((await store.remembered(HUB)).version)
    assert len(await store.found()) == 1
    assert versions[0] == versions[1], "evaluated again"


async def test_another_worker_goes_on_where_the_last_commit_stood(
    store: World, detect: Detect, clock: HandClock
) -> None:
    await detect.take([lent(ph_batch(0, [GOOD, HIGH]))])
    clock.at_ms += 1_000
    await detect.settle()
    assert await store.found() == []
    other = Detect(store, Woken(), clock, lambda _: True)
    await other.take([lent(ph_batch(1, [HIGH], start=2))])
    assert await store.found() == [f.finding_id for f in judged(ph_rows([GOOD, HIGH, HIGH]))]


async def test_a_worker_whose_hub_was_taken_over_begins_again_from_what_is_committed(
    store: World, detect: Detect, clock: HandClock
) -> None:
    other = Detect(store, Woken(), clock, lambda _: True)
    await detect.take([lent(ph_batch(0, [GOOD]))])
    await other.take([lent(ph_batch(1, [HIGH, HIGH], start=1))])
    late = lent(ph_batch(2, [HIGH], start=3))
    await detect.take([late])
    clock.at_ms += 1_000
    await detect.settle()
    assert late.acked == 1
    assert await store.covered(HUB, EPOCH) == ((0, 3),)
    assert len(await store.found()) == 1


async def test_a_step_from_another_state_commits_nothing(store: World) -> None:
    first = Advance(HUB, None, b"one", {EPOCH: ((0, 1),)}, ())
    moved = await store.commit([first])
    assert await store.commit([first]) == Superseded(frozenset({HUB}))
    assert isinstance(moved, Committed)
    second = replace(first, version=moved.versions[HUB], state=b"later")
    assert isinstance(await store.commit([second]), Committed)
    assert await store.commit([second]) == Superseded(frozenset({HUB}))
    other = Advance(HubId("hub-2"), None, b"two", {EPOCH: ((5, 6),)}, ())
    assert await store.commit([other, first]) == Superseded(frozenset({HUB}))
    assert (await store.remembered(HubId("hub-2"))).state is None
    assert await store.covered(HubId("hub-2"), EPOCH) == ()


async def test_the_sweep_finds_what_the_broker_dropped(
    store: World, detect: Detect, clock: HandClock
) -> None:
    await store.receive(ph_batch(0, [GOOD, HIGH]))
    await store.receive(ph_batch(1, [HIGH, HIGH], start=2))
    sweep = Sweep(detect, store)
    assert not await sweep.sweep()
    assert await store.found() == []  # not overdue yet: the broker may still bring them
    await store.age()
    await sweep.sweep()
    expected = judged(ph_rows([GOOD, HIGH]), ph_rows([HIGH, HIGH], start=2))
    assert await store.found() == [f.finding_id for f in expected]
    assert await store.covered(HUB, EPOCH) == ((0, 2),)


async def test_the_sweep_reads_evidence_again_and_passes_over_tombstones(
    store: World, detect: Detect
) -> None:
    await store.receive(ph_batch(0, [HIGH, HIGH], kind=Kind.EVIDENCE))
    await store.receive(a_tombstone(9))
    await store.age()
    await Sweep(detect, store).sweep()
    assert len(await store.found()) == 1
    assert await store.due() == []


async def test_a_swept_batch_that_comes_after_all_is_skipped(store: World, detect: Detect) -> None:
    batch = ph_batch(0, [HIGH, HIGH])
    await store.receive(batch)
    await store.age()
    await Sweep(detect, store).sweep()
    delivery = lent(batch)
    await detect.take([delivery])
    assert delivery.acked == 1
    assert len(await store.found()) == 1


async def test_nobody_speaks_for_another_hubs_sensor(store: World, detect: Detect) -> None:
    await store.claim(1000, HubId("hub-2"))
    await detect.take([lent(ph_batch(0, [HIGH, HIGH]))])
    assert await store.found() == []
    assert np.array_equal(await store.foreign(HUB, np.array([1000, 1001])), [1000])


async def test_a_breach_becomes_one_alert_and_its_end_resolves_it(
    store: World, detect: Detect, clock: HandClock
) -> None:
    alerts = Alerts(store, clock)
    await detect.take([lent(ph_batch(0, [GOOD, HIGH, HIGH]))])
    assert await alerts.settle() == 1
    [alert] = await store.all_alerts()
    assert (alert.kind, alert.resolved_observed_at_ms) == ("contamination", None)
    await detect.take([lent(ph_batch(1, [GOOD, GOOD], start=3))])
    assert await alerts.settle() == 1
    [alert] = await store.all_alerts()
    assert alert.resolved_observed_at_ms is not None
    assert await alerts.settle() == 0


async def test_late_rows_open_a_historical_alert_and_a_live_breach_is_another(
    store: World, detect: Detect, clock: HandClock
) -> None:
    alerts = Alerts(store, clock)
    await detect.take([lent(ph_batch(0, [GOOD], start=100))])
    await detect.take([lent(ph_batch(1, [HIGH, HIGH], start=0))])
    await alerts.settle()
    assert [a.historical for a in await store.all_alerts()] == [True]
    await detect.take([lent(ph_batch(2, [HIGH, HIGH], start=101))])
    await alerts.settle()
    old, new = await store.all_alerts()
    assert old.resolved_observed_at_ms is not None
    assert (new.historical, new.resolved_observed_at_ms) == (False, None)
