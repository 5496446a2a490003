"""headgate.prove.cluster_plan: a seed is a plan, and however short, it strikes what matters."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.prove.cluster_plan import (
    ALWAYS,
    FREEZE_S,
    INGEST_FROZEN_S,
    LONG_KINDS,
    NODES,
    SMALL_KINDS,
    TARGETS,
    Size,
    cluster_plan,
)
from headgate.prove.plan import LEAD_S, LINK_FAULT_S, TAIL_S, Fault, Strike, Target

CONF = Path(__file__).parents[3] / "deploy" / "rabbitmq" / "rabbitmq.conf"
SPARE_S = 10
seeds = st.integers(0, 2**32)
sizes = st.builds(Size, st.integers(1, 9), st.integers(1, 9))
seconds_ = st.floats(6, 600)


@given(seconds_, seeds, sizes)
def test_the_same_seed_is_the_same_plan_in_order_of_time(
    seconds: float, seed: int, size: Size
) -> None:
    plan = cluster_plan(seconds, seed, size)
    assert plan == cluster_plan(seconds, seed, size)
    for part in (plan.apart, plan.together):
        times = [strike.at_s for strike in part]
        assert times == sorted(times)
    assert all(LEAD_S <= each.at_s <= max(LEAD_S + 1, plan.apart_s) for each in plan.apart)
    assert all(plan.apart_s <= each.at_s <= seconds - TAIL_S for each in plan.together)


@given(seconds_, seeds)
def test_however_short_a_node_is_struck_ingest_frozen_and_a_hub_revoked(
    seconds: float, seed: int
) -> None:
    plan = cluster_plan(seconds, seed, Size(3, 2))
    assert any(strike.target is Target.NODE for strike in plan.strikes)
    assert Fault.REVOKE in {strike.fault for strike in plan.apart[:ALWAYS]}
    (revoked,) = (strike for strike in plan.strikes if strike.fault is Fault.REVOKE)
    assert revoked.target is Target.HUB
    (frozen,) = (each for each in plan.strikes if (each.target, each.fault) == INGEST_FREEZE)
    assert frozen.lasts_s == pytest.approx(min(INGEST_FROZEN_S, seconds / 3), abs=0.001)


INGEST_FREEZE = (Target.INGEST, Fault.FREEZE)


@given(seeds)
def test_two_minutes_hold_every_small_kind_apart_and_together_and_a_node_struck_among_them(
    seed: int,
) -> None:
    plan = cluster_plan(120, seed, Size(3, 2))
    assert {strike.target for strike in plan.strikes} == set(TARGETS)
    for part in (plan.apart, plan.together):
        assert set(SMALL_KINDS) <= {(strike.target, strike.fault) for strike in part}
    assert any(strike.target is Target.NODE for strike in plan.together)


@given(seconds_, seeds)
def test_five_seeds_in_a_row_have_every_long_kind_apart(seconds: float, seed: int) -> None:
    plans = [cluster_plan(seconds, seed + more, Size(3, 2)) for more in range(len(LONG_KINDS))]
    firsts = [plan.apart[0] for plan in plans]
    assert {(each.target, each.fault) for each in firsts} == {kind[:2] for kind in LONG_KINDS}
    killed = [each for each in firsts if (each.target, each.fault) == (Target.NODE, Fault.KILL)]
    assert len(killed) == 2
    assert 0 in {each.victim for each in killed}, "the leader"


@given(seconds_, seeds, sizes)
def test_victims_exist_and_last_as_long_as_they_should(
    seconds: float, seed: int, size: Size
) -> None:
    for strike in cluster_plan(seconds, seed, size).strikes:
        assert 0 <= strike.victim < _how_many(strike, size)
        if strike.target is Target.LINK:
            assert LINK_FAULT_S[0] <= strike.lasts_s <= LINK_FAULT_S[1]
        elif strike.target is Target.NODE and strike.fault is Fault.FREEZE:
            assert FREEZE_S[0] <= strike.lasts_s <= FREEZE_S[1]
        elif strike.fault is not Fault.FREEZE:
            assert strike.lasts_s == 0


def test_a_node_wakes_before_the_others_give_it_up() -> None:
    (ticktime_s,) = re.findall(r"(?m)^net_ticktime = (\d+)$", CONF.read_text())
    assert FREEZE_S[1] < int(ticktime_s) * 3 / 4 - SPARE_S


def _how_many(strike: Strike, size: Size) -> int:
    match strike.target:
        case Target.AGENT:
            return size.hubs
        case Target.LINK:
            return size.hubs + NODES
        case Target.INGEST:
            return size.ingest_workers
        case Target.NODE:
            return NODES
        case _:
            return 1
