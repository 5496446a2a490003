"""Laws of the outbox: at its edges here, over all histories in ``test_outbox_histories``."""

import pytest

from edge_agent.core.outbox import (
    ANSWER_WITHIN_MS,
    BACKLOG_FLIGHTS_MAX,
    BYTES_IN_FLIGHT_MAX,
    FLIGHTS_MAX,
    URGENT_BYTES_MAX,
    URGENT_WINDOW,
    WINDOW_MAX,
    WINDOW_MIN,
    WINDOW_START,
    Outbox,
)
from edge_agent.core.spooled import Spooled, Urgency
from wire.ids import BatchKey, Epoch, HubId, Sequence
from wire.limits import BATCH_BYTES_MAX, RESEND_AFTER_MS, RESEND_AFTER_MS_MAX

pytestmark = pytest.mark.spec("I6")

NOW, OLD = Epoch(2), Epoch(1)


def batch(
    sequence: int, urgency: Urgency = Urgency.LIVE, *, epoch: Epoch = NOW, size: int = 1_000
) -> Spooled:
    return Spooled(BatchKey(HubId("hub-1"), epoch, Sequence(sequence)), urgency, size)


def batches(count: int, urgency: Urgency = Urgency.LIVE, *, size: int = 1_000) -> list[Spooled]:
    return [batch(n, urgency, size=size) for n in range(count)]


def online(at_ms: int = 0) -> Outbox:
    outbox = Outbox(NOW)
    outbox.connected([], at_ms)
    return outbox


def fly(outbox: Outbox, waiting: list[Spooled], at_ms: int = 0) -> list[Spooled]:
    busy = outbox.not_now(at_ms)
    chosen = outbox.offer([b for b in waiting if b.key not in busy], at_ms, whole=False)
    for spooled in chosen:
        outbox.sent(spooled, at_ms, 0.0)
    return chosen


def test_nothing_is_sent_while_offline() -> None:
    assert Outbox(NOW).offer(batches(3), 0, whole=True) == []


def test_urgent_goes_before_live_before_backlog_and_keeps_the_spools_order_within() -> None:
    waiting = [
        batch(1, Urgency.BACKLOG),
        batch(9, Urgency.LIVE),
        batch(8, Urgency.LIVE),
        batch(4, Urgency.URGENT),
        batch(5, Urgency.URGENT),
    ]
    sent = [b.key.sequence for b in online().offer(waiting, 0, whole=True)]
    assert sent == [4, 5, 9, 8, 1]


def test_the_window_bounds_how_many_fly() -> None:
    outbox = online()
    assert len(fly(outbox, batches(WINDOW_START + 1))) == WINDOW_START
    assert fly(outbox, batches(WINDOW_START + 1)) == []


def test_the_window_bounds_how_many_bytes_fly() -> None:
    outbox = online()
    places = BYTES_IN_FLIGHT_MAX // BATCH_BYTES_MAX
    assert len(fly(outbox, batches(places + 1, size=BATCH_BYTES_MAX))) == places


def test_what_is_urgent_flies_however_many_others_wait_for_a_busy_store() -> None:
    outbox = online()
    fly(outbox, batches(WINDOW_START))
    urgent = [batch(1_000 + n, Urgency.URGENT) for n in range(URGENT_WINDOW + 1)]
    assert fly(outbox, urgent) == urgent[:URGENT_WINDOW]
    assert fly(outbox, batches(WINDOW_START + 1)) == []


def test_urgent_batches_leave_the_window_to_the_others_and_never_narrow_it() -> None:
    outbox = online()
    fly(outbox, [batch(1_000 + n, Urgency.URGENT) for n in range(WINDOW_START)])
    assert len(fly(outbox, batches(WINDOW_START + 1))) == WINDOW_START
    outbox.receipt(NOW, ((0, WINDOW_START),), 0)
    before = outbox.window
    assert outbox.timeout(RESEND_AFTER_MS) == WINDOW_START
    assert outbox.window == before


def test_the_urgent_window_bounds_how_many_bytes_fly() -> None:
    outbox, places = online(), URGENT_BYTES_MAX // BATCH_BYTES_MAX
    urgent = batches(places + 1, Urgency.URGENT, size=BATCH_BYTES_MAX)
    assert fly(outbox, urgent) == urgent[:places]


def test_a_receipt_makes_room_and_the_window_grows_to_its_limit() -> None:
    outbox = online()
    for turn in range(20):
        sent = fly(outbox, [batch(turn * 1_000 + n) for n in range(WINDOW_MAX)], turn)
        assert outbox.receipt(NOW, ((0, 1_000_000),), turn) == len(sent)
    assert outbox.window == WINDOW_MAX
    assert outbox.in_flight == 0


def test_receipts_of_another_epoch_cover_nothing() -> None:
    outbox = online()
    fly(outbox, batches(1))
    assert outbox.receipt(OLD, ((0, 10),), 0) == 0
    assert outbox.in_flight == 1


def test_a_batch_is_overdue_at_its_deadline_and_not_before() -> None:
    outbox = online()
    fly(outbox, batches(1))
    assert outbox.wake_ms(0) == RESEND_AFTER_MS
    assert outbox.timeout(RESEND_AFTER_MS - 1) == 0
    assert outbox.timeout(RESEND_AFTER_MS) == 1
    assert outbox.timeout(RESEND_AFTER_MS) == 0


def test_pauses_between_resends_double_up_to_their_limit() -> None:
    outbox, now_ms, pauses = online(), 0, []
    for _ in range(9):
        assert fly(outbox, batches(1), now_ms)
        now_ms += RESEND_AFTER_MS
        outbox.timeout(now_ms)
        again_ms = now_ms if not outbox.not_now(now_ms) else outbox.wake_ms(now_ms)
        assert again_ms is not None
        pauses.append(again_ms - now_ms + RESEND_AFTER_MS)
        now_ms = again_ms
    doubled = [RESEND_AFTER_MS * 2**n for n in range(9)]
    assert pauses == [min(pause, RESEND_AFTER_MS_MAX) for pause in doubled]


def test_jitter_only_lengthens_a_pause() -> None:
    outbox = online()
    outbox.sent(batch(0), 0, 1.0)
    outbox.timeout(RESEND_AFTER_MS)
    assert outbox.not_now(RESEND_AFTER_MS * 5 // 4 - 1)
    assert not outbox.not_now(RESEND_AFTER_MS * 5 // 4)


def test_the_window_halves_once_for_all_that_is_overdue_together() -> None:
    outbox = online()
    fly(outbox, batches(WINDOW_START))
    outbox.timeout(RESEND_AFTER_MS)
    assert outbox.window == WINDOW_START // 2


def test_losses_of_before_the_halving_do_not_halve_again() -> None:
    outbox = online()
    outbox.sent(batch(0), 0, 0.0)
    outbox.sent(batch(1), 5, 0.0)
    outbox.timeout(RESEND_AFTER_MS)
    outbox.timeout(RESEND_AFTER_MS + 5)
    assert outbox.window == WINDOW_START // 2


def test_the_window_never_closes() -> None:
    outbox, now_ms = online(), 0
    for turn in range(20):
        outbox.sent(batch(turn), now_ms, 0.0)
        now_ms += RESEND_AFTER_MS
        outbox.timeout(now_ms)
    assert outbox.window == WINDOW_MIN


def test_batches_that_never_get_a_receipt_do_not_hold_up_the_others() -> None:
    outbox = online()
    fly(outbox, batches(WINDOW_START))
    outbox.timeout(RESEND_AFTER_MS)
    assert len(fly(outbox, [batch(100 + n) for n in range(50)], RESEND_AFTER_MS)) == outbox.window


def test_when_the_store_speaks_after_a_silence_what_rests_goes_at_once() -> None:
    outbox, now_ms = online(), 0
    for _ in range(4):
        fly(outbox, batches(2), now_ms)
        now_ms += RESEND_AFTER_MS
        outbox.timeout(now_ms)
        now_ms = outbox.wake_ms(now_ms) or now_ms
    fly(outbox, batches(2), now_ms)
    now_ms += RESEND_AFTER_MS
    outbox.timeout(now_ms)
    assert outbox.not_now(now_ms)
    outbox.receipt(NOW, ((0, 1),), now_ms)
    assert [b.key.sequence for b in fly(outbox, batches(2)[1:], now_ms)] == [1]


def test_a_batch_without_a_receipt_among_others_that_get_theirs_keeps_its_pause() -> None:
    outbox = online()
    for turn in range(3):
        now_ms = turn * RESEND_AFTER_MS
        outbox.sent(batch(0), now_ms, 0.0)
        outbox.sent(batch(turn + 1), now_ms, 0.0)
        outbox.receipt(NOW, ((1, 10),), now_ms + RESEND_AFTER_MS - 1)
        outbox.timeout(now_ms + RESEND_AFTER_MS)
    outbox.sent(batch(7), 3 * RESEND_AFTER_MS, 0.0)
    outbox.receipt(NOW, ((1, 10),), 3 * RESEND_AFTER_MS)
    assert outbox.not_now(3 * RESEND_AFTER_MS) == {batch(0).key}


def test_after_a_reconnect_nothing_is_sent_again_before_the_hello_is_answered() -> None:
    outbox = online()
    fly(outbox, batches(3))
    outbox.disconnected()
    outbox.connected([NOW], 1_000)
    assert fly(outbox, batches(3), 1_000) == []
    outbox.receipt(NOW, ((0, 2),), 1_500)
    assert [b.key.sequence for b in fly(outbox, batches(3)[2:], 1_500)] == [2]


def test_a_hello_that_is_not_answered_holds_resends_up_to_its_deadline_only() -> None:
    outbox = online()
    fly(outbox, batches(3))
    outbox.disconnected()
    outbox.connected([NOW], 0)
    outbox.timeout(ANSWER_WITHIN_MS - 1)
    assert fly(outbox, batches(3), ANSWER_WITHIN_MS - 1) == []
    assert outbox.wake_ms(ANSWER_WITHIN_MS - 1) == ANSWER_WITHIN_MS
    outbox.timeout(ANSWER_WITHIN_MS)
    assert len(fly(outbox, batches(3), ANSWER_WITHIN_MS)) == 3


@pytest.mark.parametrize("urgency", [Urgency.URGENT, Urgency.LIVE])
def test_what_was_certainly_never_sent_does_not_wait_for_the_hello(urgency: Urgency) -> None:
    outbox = Outbox(NOW)
    outbox.connected([NOW, OLD], 0)
    assert fly(outbox, [batch(0, urgency)])


def test_what_an_earlier_life_may_have_sent_waits_for_the_hello() -> None:
    outbox = Outbox(NOW)
    outbox.connected([NOW, OLD], 0)
    assert fly(outbox, [batch(0, Urgency.URGENT, epoch=OLD)]) == []
    outbox.receipt(OLD, (), 1)
    assert fly(outbox, [batch(0, Urgency.URGENT, epoch=OLD)], 1)


def test_the_table_of_flights_is_bounded_and_keeps_room_for_what_is_new() -> None:
    outbox = online()
    for n in range(BACKLOG_FLIGHTS_MAX):
        outbox.sent(batch(n, Urgency.BACKLOG), 0, 0.0)
    outbox.timeout(RESEND_AFTER_MS)
    later = [batch(FLIGHTS_MAX + n, Urgency.BACKLOG) for n in range(5)]
    assert outbox.offer(later, RESEND_AFTER_MS, whole=False) == []
    assert outbox.offer([batch(FLIGHTS_MAX, Urgency.URGENT)], RESEND_AFTER_MS, whole=False)
    for n in range(BACKLOG_FLIGHTS_MAX, FLIGHTS_MAX):
        outbox.sent(batch(n), RESEND_AFTER_MS, 0.0)
    outbox.timeout(2 * RESEND_AFTER_MS)
    assert outbox.offer([batch(FLIGHTS_MAX)], 2 * RESEND_AFTER_MS, whole=False) == []


def test_flights_the_spool_no_longer_holds_are_let_go() -> None:
    outbox = online()
    fly(outbox, batches(2))
    outbox.timeout(RESEND_AFTER_MS)
    outbox.offer(batches(1), RESEND_AFTER_MS, whole=True)
    assert repr(outbox) == "<Outbox online, 0 of 10 flying, 0 urgent, 1 resting>"


def test_it_shows_its_state() -> None:
    outbox = Outbox(NOW)
    assert repr(outbox) == "<Outbox offline, 0 of 20 flying, 0 urgent, 0 resting>"
    outbox.connected([NOW], 0)
    fly(outbox, batches(2))
    assert repr(outbox) == "<Outbox asking, 2 of 20 flying, 0 urgent, 0 resting>"
