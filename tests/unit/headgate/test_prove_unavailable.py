"""headgate.prove.unavailable: which standstill is charged to which fault, from both sides."""

import pytest

from headgate.prove.heal import Healing
from headgate.prove.plan import Fault, Strike, Target
from headgate.prove.unavailable import unavailable_s_max

KILL = Strike(2.0, Target.NODE, Fault.KILL)
LINK = Strike(3.0, Target.LINK, Fault.CUT)
DETECT = Strike(2.0, Target.DETECT, Fault.KILL)
ALERT = Strike(2.0, Target.ALERT, Fault.KILL)
COMMITS = {"hub-1": [0, 1_000, 9_000, 10_000, 30_000]}


def felt(struck_ms: int, healed_ms: int, strike: Strike = KILL, *hubs: str) -> Healing:
    heal_s = (healed_ms - struck_ms) / 1_000
    return Healing(strike, "it", heal_s, struck_ms, healed_ms, hubs or ("hub-1",))


@pytest.mark.parametrize(
    ("struck_ms", "healed_ms", "gap_s"),
    [
        (2_000, 3_000, 8.0),  # struck and healed within one gap: the whole of it
        (1_000, 1_000, 8.0),  # struck at a commit: what follows is its own
        (500, 600, 1.0),  # healed before the gap began
        (500, 1_001, 8.0),  # the gap began while it was felt
        (9_500, 9_900, 1.0),
        (9_500, 10_000, 20.0),
    ],
)
def test_a_gap_counts_whole_if_it_was_open_while_the_fault_was_felt(
    struck_ms: int, healed_ms: int, gap_s: float
) -> None:
    found = unavailable_s_max([felt(struck_ms, healed_ms)], COMMITS, {})
    assert found == {"node kill -9": gap_s}


def test_where_nothing_was_committed_any_more_the_verdict_says_so_not_we() -> None:
    assert unavailable_s_max([felt(40_000, 50_000)], COMMITS, {}) == {}
    assert unavailable_s_max([felt(500, 600)], {}, {}) == {}


def test_the_worst_of_the_affected_hubs_counts_less_its_own_windows() -> None:
    commits = {**COMMITS, "hub-2": [0, 12_000], "hub-3": [0, 99_000]}
    fault = felt(2_000, 3_000, KILL, "hub-1", "hub-2")
    assert unavailable_s_max([fault], commits, {})["node kill -9"] == 12.0
    assert unavailable_s_max([fault], commits, {"hub-2": 10.0})["node kill -9"] == 8.0


def test_faults_of_a_kind_show_their_worst() -> None:
    found = unavailable_s_max([felt(500, 600), felt(2_000, 3_000)], COMMITS, {})
    assert found == {"node kill -9": 8.0}


@pytest.mark.parametrize(
    ("struck_ms", "healed_ms", "alone"),
    [
        (8_999, 9_500, False),  # struck while the gap was open still
        (9_000, 9_500, True),
        (500, 1_001, False),  # not yet over as the gap began
        (500, 1_000, True),
    ],
)
def test_a_gap_in_which_two_faults_were_open_is_nobodys(
    struck_ms: int, healed_ms: int, alone: bool
) -> None:
    kill, other = felt(2_000, 3_000), felt(struck_ms, healed_ms, LINK)
    found = unavailable_s_max([kill, other], COMMITS, {})
    assert found.get("node kill -9") == (8.0 if alone else None)


def test_a_short_gap_of_its_own_does_not_stand_for_a_longer_one_it_shared() -> None:
    kill, other = felt(500, 3_000), felt(8_000, 8_500, LINK)
    assert "node kill -9" not in unavailable_s_max([kill, other], COMMITS, {})


def test_a_fault_on_another_hubs_way_takes_nothing_from_it_nor_does_one_behind_the_store() -> None:
    kill, elsewhere = felt(2_000, 3_000), felt(4_000, 5_000, LINK, "hub-2")
    behind = felt(4_000, 5_000, ALERT)
    found = unavailable_s_max([kill, elsewhere, behind], COMMITS, {})
    assert found["node kill -9"] == 8.0


def test_what_is_behind_the_store_is_away_until_it_has_healed_if_all_else_was_well() -> None:
    detect = felt(2_000, 2_500, DETECT)
    assert unavailable_s_max([detect], COMMITS, {}) == {"detect kill -9": 0.5}
    assert unavailable_s_max([detect, felt(2_400, 3_000, LINK)], {}, {}) == {}
    never = Healing(DETECT, "it", None, 2_000, 92_000, ("hub-1",))
    assert unavailable_s_max([never], COMMITS, {}) == {}
