"""headgate.prove.heal: what counts as evidence that something works again, from both sides."""

import pytest

from headgate.prove.heal import Healing, Seen, works_again, worst_heal_s
from headgate.prove.plan import Fault, Strike, Target

HUBS = ("hub-1", "hub-2")
SINCE = 1_000
EVERY_HUB = (Target.BROKER, Target.NODE, Target.INGEST, Target.POSTGRES)


def seen(**shown: object) -> Seen:
    return Seen(**{"at_ms": SINCE + 500, **shown})  # type: ignore[arg-type]


def test_an_agent_works_again_with_the_first_batch_of_a_new_life() -> None:
    for born_ms, works in ((SINCE, False), (SINCE + 1, True)):
        shown = seen(born_ms={"hub-1": born_ms}, received_ms={"hub-1": SINCE + 400})
        assert works_again(Target.AGENT, ["hub-1"], SINCE, shown) is works


def test_another_hubs_life_is_no_evidence() -> None:
    shown = seen(born_ms={"hub-2": SINCE + 1}, received_ms={"hub-2": SINCE + 1})
    assert not works_again(Target.AGENT, ["hub-1"], SINCE, shown)
    assert not works_again(Target.LINK, ["hub-1"], SINCE, shown)


def test_a_link_works_again_with_the_first_batch_received_after_it() -> None:
    for received_ms, works in ((SINCE, False), (SINCE + 1, True)):
        shown = seen(received_ms={"hub-1": received_ms})
        assert works_again(Target.LINK, ["hub-1"], SINCE, shown) is works


@pytest.mark.parametrize("target", EVERY_HUB)
def test_what_several_hubs_pass_works_again_when_one_of_them_is_heard(target: Target) -> None:
    none = seen(received_ms={"hub-1": SINCE, "hub-2": SINCE, "hub-3": SINCE + 1})
    one = seen(received_ms={"hub-1": SINCE, "hub-2": SINCE + 1})
    assert not works_again(target, HUBS, SINCE, none)
    assert works_again(target, HUBS, SINCE, one)
    assert works_again(target, (), SINCE, none)


def test_detection_works_again_when_it_commits() -> None:
    for evaluated_ms, works in ((None, False), (SINCE, False), (SINCE + 1, True)):
        shown = seen(evaluated_ms=evaluated_ms)
        assert works_again(Target.DETECT, HUBS, SINCE, shown) is works


def test_alerts_work_again_when_nothing_older_is_unanswered() -> None:
    for unsettled_ms, works in ((SINCE, False), (SINCE + 1, True), (None, True)):
        shown = seen(unsettled_ms=unsettled_ms)
        assert works_again(Target.ALERT, HUBS, SINCE, shown) is works


@pytest.mark.parametrize("target", Target)
def test_a_look_from_before_shows_nothing(target: Target) -> None:
    late = {hub: SINCE + 1 for hub in HUBS}
    shown = Seen(SINCE - 1, late, late, SINCE + 1, None)
    assert not works_again(target, HUBS, SINCE, shown)


def test_the_worst_healing_is_the_longest_that_ended() -> None:
    strike = Strike(2.0, Target.AGENT, Fault.KILL)
    healings = [Healing(strike, "hub-1", heal_s) for heal_s in (1.5, None, 4.25, 0.2)]
    assert worst_heal_s(healings) == 4.25
    assert worst_heal_s(healings[1:2]) is None
    assert worst_heal_s([]) is None
