"""What a hub believes about the time."""

from edge_agent.core.clock import STEP_MS, SUSPECT_MS, HubClock, Now


def test_untrusted_clock_knows_nothing_until_the_cloud_spoke() -> None:
    clock = HubClock(wall_trusted=False).look(Now(12_345, 100))
    assert clock.now_ms(Now(12_345, 100)) is None
    clock = clock.hear(1_700_000_000_000, Now(12_345, 100))
    assert clock.now_ms(Now(0, 350)) == 1_700_000_000_250
    assert not clock.step_seen


def test_delayed_word_of_the_cloud_never_turns_the_clock_back() -> None:
    clock = HubClock(wall_trusted=False).hear(1_000_000, Now(0, 0))
    clock = clock.hear(900_000, Now(0, 5))
    assert clock.now_ms(Now(0, 5)) == 1_000_005
    assert not clock.step_seen


def test_step_is_one_only_beyond_its_bound_in_both_directions() -> None:
    clock = HubClock(wall_trusted=True).look(Now(1_000_000, 0))
    assert not clock.look(Now(1_000_000 + STEP_MS + 10, 10)).step_seen
    assert not clock.look(Now(1_000_000 - STEP_MS + 10, 10)).step_seen
    assert clock.look(Now(1_000_001 + STEP_MS + 10, 10)).step_seen
    assert clock.look(Now(999_999 - STEP_MS + 10, 10)).step_seen


def test_dates_are_suspect_after_a_step_until_confirmed_or_long_ago() -> None:
    clock = HubClock(wall_trusted=True).look(Now(1_000_000, 0)).look(Now(9_000_000, 10))
    assert clock.suspect(Now(9_000_001, 11))
    assert not clock.suspect(Now(0, 10 + SUSPECT_MS))
    assert not clock.hear(9_000_000, Now(9_000_010, 20)).suspect(Now(9_000_011, 21))
    assert clock.hear(8_000_000, Now(9_000_010, 20)).suspect(Now(9_000_011, 21))


def test_trusted_clock_behind_the_cloud_is_suspect_and_still_followed() -> None:
    clock = HubClock(wall_trusted=True).look(Now(1_000_000, 0)).hear(2_000_000, Now(1_000_000, 0))
    assert clock.step_seen
    assert clock.now_ms(Now(0, 7)) == 1_000_007
