"""What waits for one subscriber: bounded in messages and bytes, oldest dropped first."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.identity import Role
from gateway.core.limits import (
    HUB_QUEUE_BYTES_MAX,
    HUB_QUEUE_MESSAGES_MAX,
    STAGE_QUEUE_BYTES_MAX,
    STAGE_QUEUE_MESSAGES_MAX,
)


class Message(NamedTuple):
    """A message on its way to one subscriber."""

    topic: str
    body: bytes
    qos: int
    retained: bool


@dataclass(slots=True)
class Mailbox:
    """A queue with two limits. Oldest goes first: its sender is the next to resend anyway.

    Attributes:
        messages_max: How many messages may wait.
        bytes_max: How many bytes of payload may wait; one message may always wait alone.
    """

    messages_max: int
    bytes_max: int
    _waiting: deque[Message] = field(default_factory=deque)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Mailbox {len(self)} messages {self._bytes} bytes>"

    def put(self, message: Message) -> int:
        """Append a message; return how many old ones had to go for it."""
        self._waiting.append(message)
        self._bytes += len(message.body)
        return self._trim()

    def put_back(self, message: Message) -> int:
        """Return a message that was taken but never acknowledged to the front."""
        self._waiting.appendleft(message)
        self._bytes += len(message.body)
        return self._trim()

    def take(self) -> Message | None:
        """Remove and return the oldest message, None if nothing waits."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self._bytes -= len(message.body)
        return message

    def _trim(self) -> int:
        dropped = 0
        while len(self._waiting) > 1 and (
            len(self._waiting) > self.messages_max or self._bytes > self.bytes_max
        ):
            self._bytes -= len(self._waiting.popleft().body)
            dropped += 1
        return dropped


def mailbox_for(role: Role) -> Mailbox:
    """Return an empty mailbox of the size a client of this role gets."""
    if role is Role.HUB:
        return Mailbox(HUB_QUEUE_MESSAGES_MAX, HUB_QUEUE_BYTES_MAX)
    return Mailbox(STAGE_QUEUE_MESSAGES_MAX, STAGE_QUEUE_BYTES_MAX)
