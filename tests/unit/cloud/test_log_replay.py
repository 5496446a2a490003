"""Replaying a log held in memory: where it begins and ends, what time it is in it, and cuts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.core.errors import OperatorError
from cloud.core.log_span import SLICE_MS, SLICES_MAX, Logged, Span, slice_ends
from cloud.core.reach import Reach
from cloud.ingest.log_span import find_span
from cloud.ingest.rebuild import Rebuild
from tests.support.builders import HUB, NOON, NORTH, a_batch
from tests.support.cloud import MemoryStore, StoppedClock
from wire.batch import Batch
from wire.codec import encode
from wire.errors import InfrastructureError
from wire.ids import UnixMs
from wire.topics import Channel, topic

DAY_MS = 86_400_000
WHERE = topic(NORTH, HUB, Channel.BATCH)


@dataclass
class MemoryLog:
    """See ``cloud.ingest.log_span.Log``: messages by offset, each with the time it was logged."""

    logged: dict[int, tuple[int, Batch]] = field(default_factory=dict)
    breaks_after: int | None = None

    async def oldest(self) -> int | None:
        return min(self.logged, default=None)

    async def tail(self) -> int:
        return max(self.logged) + 1

    async def since(self, at_ms: UnixMs) -> int | None:
        second_ms = at_ms // 1_000 * 1_000
        found = (offset for offset, (at, _) in self.logged.items() if at >= second_ms)
        return min(found, default=None)

    async def read(self, first: int, end: int) -> AsyncGenerator[Sequence[Logged], None]:
        for offset, (_, batch) in sorted(self.logged.items()):
            if first <= offset < end:
                if self.breaks_after is not None and offset > self.breaks_after:
                    self.breaks_after = None
                    raise InfrastructureError("memory: broken off")
                yield [Logged(offset, WHERE, encode(batch))]


def a_log(*batches: Batch, first: int = 0, at_ms: int = NOON, every_ms: int = 1_000) -> MemoryLog:
    return MemoryLog({first + n: (at_ms + n * every_ms, b) for n, b in enumerate(batches)})


def a_rebuild(store: MemoryStore, span: Span) -> Rebuild:
    return Rebuild(store, span, StoppedClock(), Reach(), lambda: 0.5)


async def replayed(log: MemoryLog, now_ms: UnixMs) -> tuple[MemoryStore, Rebuild]:
    """Replay all of a log, beginning again after a break."""
    store = MemoryStore()
    rebuild = a_rebuild(store, await find_span(log, NOON, now_ms, now_ms))
    for _ in range(2):
        with suppress(InfrastructureError):
            await rebuild.follow(log)
    return store, rebuild


@pytest.mark.spec("I10")
async def test_rows_are_judged_by_the_clock_of_then() -> None:
    ahead = a_batch(0, sensors=[1], times=[NOON + 2 * DAY_MS])
    old = a_batch(1, sensors=[2], times=[NOON - 399 * DAY_MS])
    store, rebuild = await replayed(a_log(ahead, old), UnixMs(NOON + 10 * DAY_MS))
    assert list(store.tables.readings) == [(2, NOON - 399 * DAY_MS)]
    assert list(store.tables.refused.values()) == ["future"]
    assert (rebuild.tally.rows["readings"], rebuild.tally.rows["refused_rows"]) == (1, 1)


async def test_a_replay_goes_on_where_the_link_broke_and_reads_nothing_twice() -> None:
    log = a_log(*(a_batch(n, times=[NOON + n]) for n in range(6)))
    log.breaks_after = 3
    store, rebuild = await replayed(log, UnixMs(NOON + DAY_MS))
    assert len(store.tables.readings) == 6
    assert (rebuild.tally.messages, rebuild.tally.batches["duplicates"]) == (6, 0)


async def test_a_replay_said_again_stores_nothing_twice() -> None:
    log = a_log(*(a_batch(n, times=[NOON + n]) for n in range(3)))
    store = MemoryStore()
    for again in (0, 3):
        rebuild = a_rebuild(store, Span(0, 3, (), NOON))
        await rebuild.follow(log)
        assert rebuild.tally.batches["duplicates"] == again
    assert len(store.tables.readings) == 3
    assert all(len(contents) == 1 for contents in store.tables.log.values())


async def test_a_span_begins_with_the_first_message_since_and_ends_before_until() -> None:
    log = a_log(*(a_batch(n) for n in range(10)))
    later = UnixMs(NOON + DAY_MS)
    span = await find_span(log, UnixMs(NOON + 3_000), UnixMs(NOON + 7_000), later)
    assert (span.first, span.end) == (3, 7)
    assert (await find_span(log, UnixMs(NOON + 3_500), later, later)).first == 3
    assert (await find_span(log, UnixMs(0), later, later)).end == 10
    nothing = await find_span(log, UnixMs(NOON + 60_000), later, later)
    assert nothing.first == nothing.end
    empty = await find_span(MemoryLog(), NOON, later, later)
    assert empty.first == empty.end


async def test_a_log_cut_since_names_its_oldest_second_which_is_then_taken() -> None:
    log = a_log(*(a_batch(n) for n in range(5)), first=7, at_ms=NOON + 5_000)
    later = UnixMs(NOON + DAY_MS)
    with pytest.raises(OperatorError, match=r"oldest it has is of 2025-01-28T12:00:05Z"):
        await find_span(log, UnixMs(NOON + 4_000), later, later)
    assert (await find_span(log, UnixMs(NOON + 5_000), later, later)).first == 7
    whole = a_log(*(a_batch(n) for n in range(5)), at_ms=NOON + 5_000)  # from its very beginning
    assert (await find_span(whole, UnixMs(0), later, later)).first == 0


@given(
    starts=st.lists(st.integers(0, 20 * DAY_MS), min_size=1, max_size=20).map(sorted),
    lasts_ms=st.integers(20 * DAY_MS + 1, 300 * DAY_MS),
)
def test_every_message_is_dated_within_a_slice_after_it_was_logged(
    starts: list[int], lasts_ms: int
) -> None:
    log = MemoryLog({n: (NOON + at, a_batch(n)) for n, at in enumerate(starts)})
    until = UnixMs(NOON + lasts_ms)
    span = asyncio.run(find_span(log, NOON, until, until))
    slice_ms = max(SLICE_MS, lasts_ms // SLICES_MAX + 1) + 1_000
    for n, at in enumerate(starts):
        assert NOON + at // 1_000 * 1_000 <= span.at(n) <= NOON + at + slice_ms


@given(from_ms=st.integers(0, 2**41), lasts_ms=st.integers(1, 2**41))
def test_slices_are_bounded_in_number(from_ms: int, lasts_ms: int) -> None:
    assert len(slice_ends(UnixMs(from_ms), UnixMs(from_ms + lasts_ms))) <= SLICES_MAX
