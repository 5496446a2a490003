"""Which messages to acknowledge with how few words: AMQP lets one word cover all before it."""

from typing import NamedTuple


class Ack(NamedTuple):
    """One word to the broker.

    Attributes:
        tag: The last message it is about.
        multiple: Whether it covers every message lent before that one, too.
    """

    tag: int
    multiple: bool


class Acks:
    """What a broker has lent on one channel. Tags are forgotten as they are taken, never twice."""

    def __init__(self) -> None:
        """Begin with nothing lent."""
        self._lent: dict[int, bool] = {}  # tag -> settled, in the order they were lent
        self._news: list[int] = []

    def __repr__(self) -> str:
        """Show how much is lent, and how much of it waits to be told."""
        return f"<Acks {len(self._lent)} lent, {len(self._news)} to tell>"

    def lend(self, tag: int) -> None:
        """Note a message; tags grow."""
        self._lent[tag] = False

    def settle(self, tag: int) -> bool:
        """Note that a message may be forgotten; return False if it was settled already."""
        if self._lent.get(tag, True):
            return False
        self._lent[tag] = True
        self._news.append(tag)
        return True

    def take(self) -> list[Ack]:
        """Return what to tell the broker, oldest first, and forget it."""
        done: list[int] = []
        for tag, settled in self._lent.items():
            if not settled:
                break
            done.append(tag)
        for tag in done:
            del self._lent[tag]
        acks = [Ack(done[-1], len(done) > 1)] if done else []
        for tag in sorted(self._news):
            if tag in self._lent:  # something older is still at work
                del self._lent[tag]
                acks.append(Ack(tag, False))
        self._news = []
        return acks
