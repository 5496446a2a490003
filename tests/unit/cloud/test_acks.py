"""Acknowledgements against a broker that closes the channel at the first unknown tag."""

from hypothesis import given
from hypothesis import strategies as st

from cloud.core.acks import Acks


class Channel:
    """RabbitMQ's bookkeeping: a tag must be outstanding, and ``multiple`` takes all before it."""

    def __init__(self) -> None:
        self.outstanding: list[int] = []
        self.words = 0

    def ack(self, tag: int, *, multiple: bool) -> None:
        assert tag in self.outstanding, f"PRECONDITION_FAILED unknown delivery tag {tag}"
        self.words += 1
        gone = {each for each in self.outstanding if each == tag or (multiple and each < tag)}
        self.outstanding = [each for each in self.outstanding if each not in gone]


@given(st.lists(st.one_of(st.just("lend"), st.just("take"), st.integers(0, 30)), max_size=80))
def test_what_is_settled_and_nothing_else_is_acknowledged(steps: list[str | int]) -> None:
    acks, channel, lent, settled = Acks(), Channel(), 0, set[int]()
    for step in [*steps, "take"]:
        match step:
            case "lend":
                lent += 1
                acks.lend(lent)
                channel.outstanding.append(lent)
            case "take":
                for tag, multiple in acks.take():
                    channel.ack(tag, multiple=multiple)
                assert set(channel.outstanding) == set(range(1, lent + 1)) - settled
            case int(place) if lent:
                tag = place % lent + 1
                assert acks.settle(tag) == (tag not in settled)
                settled.add(tag)


def test_what_was_settled_in_order_costs_one_word() -> None:
    acks, channel = Acks(), Channel()
    for tag in range(1, 1_001):
        acks.lend(tag)
        channel.outstanding.append(tag)
    for tag in range(1, 1_001):
        acks.settle(tag)
    for tag, multiple in acks.take():
        channel.ack(tag, multiple=multiple)
    assert (channel.words, channel.outstanding) == (1, [])
    assert repr(acks) == "<Acks 0 lent, 0 to tell>"
    assert acks.take() == []
