"""The outbox over random histories, beside an oracle that shares no code with it.

The oracle knows only the outside: what the spool holds, what was sent when, which receipts came.
"""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.core.outbox import (
    BYTES_IN_FLIGHT_MAX,
    URGENT_BYTES_MAX,
    URGENT_WINDOW,
    WINDOW_MAX,
    Outbox,
)
from edge_agent.core.spooled import Spooled, Urgency
from wire import ranges
from wire.ids import BatchKey, Epoch, HubId, Sequence
from wire.limits import BATCH_BYTES_MAX, RESEND_AFTER_MS

HUB = HubId("hub-1")
EPOCHS = [Epoch(1), Epoch(2)]
NOW = EPOCHS[-1]


class Histories(RuleBasedStateMachine):
    """A hub, a link that may cut, and a store that answers what, when and as often as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(NOW)
        self.now_ms = 0
        self.online = False
        self.spool: dict[BatchKey, Spooled] = {}
        self.sealed = dict.fromkeys(EPOCHS, 0)
        self.sent: set[BatchKey] = set()
        self.sent_on_link: dict[BatchKey, int] = {}
        self.flying: dict[BatchKey, Spooled] = {}
        self.asked: dict[Epoch, int] = {}

    @rule(
        epoch=st.sampled_from(EPOCHS),
        urgency=st.sampled_from(Urgency),
        size=st.integers(1, BATCH_BYTES_MAX),
    )
    def seal(self, epoch: Epoch, urgency: Urgency, size: int) -> None:
        key = BatchKey(HUB, epoch, Sequence(self.sealed[epoch]))
        self.sealed[epoch] += 1
        self.spool[key] = Spooled(key, urgency, size)

    @rule(wait_ms=st.sampled_from([1, 500, RESEND_AFTER_MS, 12 * RESEND_AFTER_MS]))
    def wait(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        self.outbox.timeout(self.now_ms)
        self.asked = {e: until for e, until in self.asked.items() if until > self.now_ms}

    @rule(asked=st.sets(st.sampled_from(EPOCHS)))
    def connect(self, asked: set[Epoch]) -> None:
        self.cut()
        self.outbox.connected(asked, self.now_ms)
        self.online = True
        self.asked = dict.fromkeys(asked, self.now_ms + 5_000)

    @rule()
    def cut(self) -> None:
        self.outbox.disconnected()
        self.online = False
        self.asked = {}
        self.sent_on_link = {}

    @rule(jitter=st.floats(0, 1))
    def send(self, jitter: float) -> None:
        for spooled in self.chosen():
            assert self.online
            assert spooled.key in self.spool, "what has its receipt is not sent again"
            last_ms = self.sent_on_link.get(spooled.key, self.now_ms - RESEND_AFTER_MS)
            assert self.now_ms - last_ms >= RESEND_AFTER_MS, "no resend before its time"
            known = spooled.key in self.sent or spooled.key.epoch != NOW
            assert not (known and spooled.key.epoch in self.asked), "no resend before the answer"
            self.outbox.sent(spooled, self.now_ms, jitter)
            self.sent.add(spooled.key)
            self.sent_on_link[spooled.key] = self.now_ms
            self.flying[spooled.key] = spooled

    @rule(data=st.data(), epoch=st.sampled_from(EPOCHS))
    def receipt(self, data: st.DataObject, epoch: Epoch) -> None:
        """Any subset of what was ever sent, in any order, any number of times."""
        sent = sorted(key.sequence for key in self.sent if key.epoch == epoch)
        numbers = data.draw(st.sets(st.sampled_from(sent))) if sent else set()
        self.outbox.receipt(epoch, ranges.from_numbers(numbers), self.now_ms)
        self.asked.pop(epoch, None)
        for number in numbers:
            self.spool.pop(BatchKey(HUB, epoch, Sequence(number)), None)
            self.sent_on_link.pop(BatchKey(HUB, epoch, Sequence(number)), None)

    @invariant()
    def never_more_than_the_windows_in_flight(self) -> None:
        recent_ms = self.now_ms - RESEND_AFTER_MS
        flying = [self.flying[key] for key, at_ms in self.sent_on_link.items() if at_ms > recent_ms]
        assert self.outbox.in_flight == len(flying)
        urgent = [spooled.size for spooled in flying if spooled.urgency is Urgency.URGENT]
        others = [spooled.size for spooled in flying if spooled.urgency is not Urgency.URGENT]
        assert len(urgent) <= URGENT_WINDOW
        assert len(others) <= WINDOW_MAX
        assert sum(urgent) <= URGENT_BYTES_MAX
        assert sum(others) <= BYTES_IN_FLIGHT_MAX

    def chosen(self) -> list[Spooled]:
        busy = self.outbox.not_now(self.now_ms)
        waiting = [spooled for key, spooled in self.spool.items() if key not in busy]
        chosen = self.outbox.offer(waiting, self.now_ms, whole=True)
        urgencies = [spooled.urgency for spooled in chosen]
        assert urgencies == sorted(urgencies)
        return chosen

    def teardown(self) -> None:
        """Liveness: with a link and a store that answers, everything is sent and forgotten."""
        self.outbox.connected([], self.now_ms)
        for _ in range(10_000):
            if not self.spool:
                break
            for spooled in self.chosen():
                self.outbox.sent(spooled, self.now_ms, 0.0)
                self.outbox.receipt(
                    spooled.key.epoch,
                    ((spooled.key.sequence, spooled.key.sequence + 1),),
                    self.now_ms,
                )
                del self.spool[spooled.key]
            self.now_ms = self.outbox.wake_ms(self.now_ms) or self.now_ms
            self.outbox.timeout(self.now_ms)
        assert not self.spool
        assert self.outbox.in_flight == 0


TestHistories = pytest.mark.spec("I6")(Histories.TestCase)
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
