"""gateway.core.mailbox: bounded in messages and bytes, and the newest always fits."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.identity import Role
from gateway.core.limits import OFFLINE_BATCH_BYTES, OFFLINE_BATCHES_MIN
from gateway.core.mailbox import Mailbox, Message, mailbox_for


def a_message(size: int, name: str = "t") -> Message:
    return Message(name, bytes(size), 1, False)


@given(st.lists(st.integers(0, 30)), st.integers(1, 6), st.integers(0, 60))
def test_it_keeps_the_newest_that_fit_and_counts_the_rest(
    sizes: list[int], messages_max: int, bytes_max: int
) -> None:
    box = Mailbox(messages_max, bytes_max)
    dropped = sum(box.put(a_message(size, str(n))) for n, size in enumerate(sizes))
    kept = list(iter(box.take, None))
    assert [each.topic for each in kept] == [str(n) for n in range(dropped, len(sizes))]
    assert len(kept) <= messages_max
    assert len(kept) <= 1 or sum(len(each.body) for each in kept) <= bytes_max
    if dropped:  # nothing is dropped that would have fitted
        longer = [sizes[dropped - 1], *(len(each.body) for each in kept)]
        assert len(longer) > messages_max or sum(longer) > bytes_max


def test_what_comes_back_is_the_next_to_go_out() -> None:
    box = Mailbox(10, 100)
    for name in "ab":
        box.put(a_message(1, name))
    first = box.take()
    assert first is not None
    box.put_back(first)
    assert [each.topic for each in iter(box.take, None)] == ["a", "b"]


def test_an_offline_stage_has_room_for_a_restart() -> None:
    box = mailbox_for(Role.INGEST)
    body = bytes(OFFLINE_BATCH_BYTES)
    assert sum(box.put(Message("t", body, 1, False)) for _ in range(OFFLINE_BATCHES_MIN)) == 0
    assert len(box) == OFFLINE_BATCHES_MIN
