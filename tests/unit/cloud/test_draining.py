"""Lanes taking turns: high is hardly ever passed over, low never starves, nobody idles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.core.draining import LOW_EVERY, MEDIUM_EVERY, Turns, next_lane
from wire.topics import Lane

ARRIVALS = st.lists(st.sets(st.sampled_from(list(Lane))), min_size=1, max_size=300)


@given(ARRIVALS)
@pytest.mark.spec("Q1")
def test_whatever_arrives_high_waits_two_turns_at_most_and_the_others_get_theirs(
    arrivals: list[set[Lane]],
) -> None:
    held = dict.fromkeys(Lane, 0)
    waited = dict.fromkeys(Lane, 0)
    turns = Turns()
    for arrived in arrivals:
        for lane in arrived:
            held[lane] += 1
        waiting = [lane for lane in Lane if held[lane]]
        if not waiting:
            continue
        lane, turns = next_lane(waiting, turns)
        assert held[lane], "a turn for nobody"
        held[lane] -= 1
        for each in Lane:
            waited[each] = waited[each] + 1 if each in waiting and each is not lane else 0
        assert waited[Lane.HIGH] <= 2
        assert waited[Lane.MEDIUM] <= MEDIUM_EVERY + 1
        assert waited[Lane.LOW] < LOW_EVERY


def test_with_everything_waiting_each_lane_has_its_share() -> None:
    turns, had = Turns(), dict.fromkeys(Lane, 0)
    for _ in range(160):
        lane, turns = next_lane(list(Lane), turns)
        had[lane] += 1
    assert had == {Lane.HIGH: 111, Lane.MEDIUM: 39, Lane.LOW: 10}


@pytest.mark.parametrize("lane", list(Lane))
def test_a_lane_alone_has_every_turn(lane: Lane) -> None:
    turns = Turns()
    for _ in range(50):
        chosen, turns = next_lane([lane], turns)
        assert chosen is lane
