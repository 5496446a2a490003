"""headgate.prove.plan: a seed is a plan, every kind has its turn, two at once and never three."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headgate.prove.plan import (
    KINDS,
    LEAD_S,
    LINK_FAULT_S,
    SPACING_S_MIN,
    TAIL_S,
    TARGETS,
    TOGETHER_S,
    Fault,
    Strike,
    Target,
    plan,
)

seeds = st.integers(0, 2**32)
counts = st.integers(1, 9)
ENOUGH_S = LEAD_S + TAIL_S + SPACING_S_MIN * len(KINDS)


@given(st.floats(0.1, 600), seeds, counts, counts)
def test_the_same_seed_is_the_same_plan(seconds: float, seed: int, hubs: int, workers: int) -> None:
    first, again = (plan(seconds, seed, hubs=hubs, ingest_workers=workers) for _ in range(2))
    assert first == again


def test_another_seed_is_another_plan() -> None:
    plans = {plan(60, seed, hubs=3, ingest_workers=2) for seed in range(50)}
    assert len(plans) == 50


@given(st.floats(ENOUGH_S, 600), seeds)
def test_every_kind_has_its_turn_if_seconds_allow(seconds: float, seed: int) -> None:
    strikes = plan(seconds, seed, hubs=3, ingest_workers=2)
    assert {(strike.target, strike.fault) for strike in strikes} == set(KINDS)
    assert {strike.target for strike in strikes} == set(TARGETS)


@given(st.floats(0.1, 600), seeds)
def test_strikes_come_in_order_after_the_lead_and_before_the_tail(
    seconds: float, seed: int
) -> None:
    times = [strike.at_s for strike in plan(seconds, seed, hubs=3, ingest_workers=2)]
    assert times == sorted(times)
    assert all(LEAD_S <= at_s <= seconds - TAIL_S + TOGETHER_S for at_s in times)


@given(st.floats(0.1, 600), seeds)
def test_two_may_be_struck_together_but_never_three(seconds: float, seed: int) -> None:
    times = [strike.at_s for strike in plan(seconds, seed, hubs=3, ingest_workers=2)]
    gaps = [later - at_s for at_s, later in zip(times, times[2:], strict=False)]
    assert all(gap >= SPACING_S_MIN - 0.002 for gap in gaps)


def test_a_minute_holds_strikes_that_overlap() -> None:
    for seed in range(20):
        times = [strike.at_s for strike in plan(60, seed, hubs=3, ingest_workers=2)]
        gaps = [later - at_s for at_s, later in pairwise(times)]
        assert sum(gap <= TOGETHER_S for gap in gaps) >= 3


@given(st.floats(0.1, 600), seeds, counts, counts)
def test_victims_exist_and_only_links_last(
    seconds: float, seed: int, hubs: int, workers: int
) -> None:
    for strike in plan(seconds, seed, hubs=hubs, ingest_workers=workers):
        assert 0 <= strike.victim < _how_many(strike, hubs, workers)
        if strike.target is Target.LINK:
            assert LINK_FAULT_S[0] <= strike.lasts_s <= LINK_FAULT_S[1]
            assert strike.fault is not Fault.KILL
        else:
            assert strike.lasts_s == 0
            assert strike.fault is Fault.KILL


def _how_many(strike: Strike, hubs: int, workers: int) -> int:
    match strike.target:
        case Target.AGENT | Target.LINK:
            return hubs
        case Target.INGEST:
            return workers
        case _:
            return 1
