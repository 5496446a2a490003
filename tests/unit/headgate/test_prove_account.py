"""headgate.prove.account: only one run in which nothing is wrong is called so."""

from typing import Any

import pytest

from headgate.prove.account import COUNTS, NOTHING_LOST, account, table
from headgate.prove.heal import Healing
from headgate.prove.plan import TARGETS, Fault, Strike, Target

HEALED = Healing(Strike(2.0, Target.BROKER, Fault.KILL), "gateway", 1.234)
MUST_BE_ZERO = ("missing", "extra", "conflicting", "alerts_missing", "alerts_extra")
MAY_BE_MORE = ("refused", "lost_before_commit", "alerts_expected")


def verdict(**counts: int) -> dict[str, Any]:
    fine = dict.fromkeys(COUNTS, 0) | {"readings_sent": 100, "readings_stored": 100}
    return {**fine, **counts, "examples": [], "notes": []}


def test_nothing_wrong_is_nothing_lost() -> None:
    assert account(7, [verdict()], [HEALED])["verdict"] == NOTHING_LOST


@pytest.mark.parametrize("name", MUST_BE_ZERO)
def test_whatever_is_wrong_in_any_fleet_is_the_verdict(name: str) -> None:
    found = account(7, [verdict(), verdict(**{name: 2})], [HEALED])
    assert found["verdict"] == f"{name} 2"


@pytest.mark.parametrize("name", MAY_BE_MORE)
def test_what_is_on_record_is_not_lost(name: str) -> None:
    found = account(7, [verdict(**{name: 3})], [HEALED])
    assert found["verdict"] == NOTHING_LOST
    assert found[name] == 3


def test_a_run_in_which_nothing_was_sent_proves_nothing() -> None:
    silent = dict.fromkeys(COUNTS, 0)
    assert account(7, [silent], [HEALED])["verdict"] == "nothing was sent"


def test_what_never_heals_is_the_verdict() -> None:
    never = Healing(HEALED.strike, "gateway", None)
    found = account(7, [verdict()], [never, HEALED, never])
    assert found["verdict"] == "gateway never healed"
    assert found["kills"]["broker"] == 3


def test_what_is_still_on_its_way_is_the_verdict() -> None:
    left = ["3 findings unsettled"]
    assert account(7, [verdict()], [HEALED], left)["verdict"] == "3 findings unsettled"


def test_fleets_add_up_and_every_kind_of_kill_is_named() -> None:
    found = account(7, [verdict(), verdict(refused=4)], [HEALED])
    assert (found["readings_sent"], found["readings_stored"], found["refused"]) == (200, 200, 4)
    assert found["kills"] == {str(target): int(target is Target.BROKER) for target in TARGETS}
    assert found["worst_heal_s"] == 1.23
    assert found["seed"] == 7


def test_people_are_shown_every_figure() -> None:
    shown = table(account(7, [verdict(lost_before_commit=12_345)], [HEALED]))
    assert "12,345" in shown
    assert NOTHING_LOST in shown
    assert all(name.replace("_", " ") in shown for name in COUNTS)


def test_a_cluster_has_figures_of_its_own_and_people_are_shown_them() -> None:
    more = {"unavailable_s_max": {"node freeze": 17.64}, "held_by_revoked": 9}
    found = account(7, [verdict()], [HEALED], targets=[Target.BROKER, Target.NODE], more=more)
    assert found["kills"] == {"broker": 1, "node": 0}
    assert found["held_by_revoked"] == 9
    assert "17.6 s unavailable" in table(found)
