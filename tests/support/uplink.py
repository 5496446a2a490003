"""Memory twins of the way up: a link that drops, doubles and breaks, and a spool of dicts."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from edge_agent.core.spooled import Spooled, Urgency
from edge_agent.ports import Link, LinkLostError
from tests.support.builders import HUB
from wire import ranges
from wire.control import Held
from wire.ids import BatchKey, Epoch, HubId
from wire.ids import Sequence as Place
from wire.ranges import Ranges
from wire.topics import Channel

P = ParamSpec("P")
T = TypeVar("T")

PUBACK_WITHIN_S = 8.0


async def at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``InTurn`` without a thread."""
    return work(*args, **kwargs)


@dataclass(slots=True)
class Faults:
    """How often a link misbehaves, each in 0..1."""

    refuse: float = 0.0
    lose: float = 0.0
    double: float = 0.0
    silence: float = 0.0
    delay_s: float = 0.0


class MemoryUplink:
    """``Uplink`` to whoever reads ``heard``; ``say`` talks back; ``cut`` breaks the link.

    A publish that is lost is still acknowledged, as brokers do; one that meets silence is not.
    """

    def __init__(self, seed: int = 0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.heard: asyncio.Queue[tuple[Channel, bytes]] = asyncio.Queue()
        self.sent: list[tuple[Channel, bytes, bool]] = []
        self.wills: list[bytes] = []
        self._random = random.Random(seed)
        self._link: _MemoryLink | None = None

    @property
    def up(self) -> bool:
        """Whether a link is open."""
        return self._link is not None

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator[Link]:
        """See ``Uplink``."""
        if self._chance(self.faults.refuse):
            raise LinkLostError("refused")
        self.wills.append(will)
        self._link = _MemoryLink(self)
        try:
            yield self._link
        finally:
            self._link = None

    def say(self, channel: Channel, body: bytes) -> None:
        """Let the cloud say something; without a link, or with bad luck, nobody hears it."""
        if self._link is not None and not self._chance(self.faults.lose):
            for _ in range(2 if self._chance(self.faults.double) else 1):
                self._link.inbox.put_nowait((channel, body))

    def cut(self) -> None:
        """Break the open link, if any."""
        if self._link is not None:
            self._link.inbox.put_nowait(None)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


class _MemoryLink:
    def __init__(self, uplink: MemoryUplink) -> None:
        self.inbox: asyncio.Queue[tuple[Channel, bytes] | None] = asyncio.Queue()
        self._uplink = uplink

    async def publish(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """See ``Link``."""
        uplink = self._uplink
        uplink.sent.append((channel, body, retain))
        await asyncio.sleep(uplink.faults.delay_s * uplink._random.random())
        if uplink._chance(uplink.faults.silence):
            await asyncio.sleep(PUBACK_WITHIN_S)
            raise LinkLostError("no PUBACK")
        if not uplink._chance(uplink.faults.lose):
            for _ in range(2 if uplink._chance(uplink.faults.double) else 1):
                uplink.heard.put_nowait((channel, body))

    async def incoming(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """See ``Link``."""
        while (message := await self.inbox.get()) is not None:
            yield message
        raise LinkLostError("cut")


@dataclass(slots=True)
class MemoryStore:
    """``BatchStore`` in dictionaries. A body is its key's text, so a cloud can tell them apart."""

    epoch: Epoch
    hub_id: HubId = HUB
    bodies: dict[BatchKey, tuple[Urgency, bytes]] = field(default_factory=dict)
    next_sequence: dict[Epoch, int] = field(default_factory=dict)
    settled: list[BatchKey] = field(default_factory=list)
    quarantine: list[BatchKey] = field(default_factory=list)

    def seal(self, urgency: Urgency = Urgency.LIVE, epoch: Epoch | None = None) -> BatchKey:
        """Add a batch."""
        epoch = self.epoch if epoch is None else epoch
        number = self.next_sequence.get(epoch, 0)
        self.next_sequence[epoch] = number + 1
        key = BatchKey(self.hub_id, epoch, Place(number))
        self.bodies[key] = urgency, f"{key.epoch}/{key.sequence}".encode()
        return key

    def waiting(self, limit: int, besides: Collection[BatchKey]) -> Sequence[Spooled]:
        """See ``BatchStore``."""
        found = [
            Spooled(key, urgency, len(body))
            for key, (urgency, body) in self.bodies.items()
            if key not in besides
        ]
        found.sort(key=lambda one: (one.urgency, _place(one)))
        return found[:limit]

    def body(self, key: BatchKey) -> bytes | None:
        """See ``BatchStore``."""
        return self.bodies[key][1] if key in self.bodies else None

    def held(self) -> tuple[Held, ...]:
        """See ``BatchStore``."""
        return tuple(
            Held(
                epoch,
                self.next_sequence[epoch],
                ranges.from_numbers(k.sequence for k in self.bodies if k.epoch == epoch),
            )
            for epoch in sorted(self.next_sequence, key=lambda epoch: epoch != self.epoch)
        )

    def settle(self, epoch: Epoch, received: Ranges, refused: Ranges) -> int:
        """See ``BatchStore``."""
        gone = [
            key
            for key in self.bodies
            if key.epoch == epoch and ranges.contains(received, key.sequence)
        ]
        for key in gone:
            del self.bodies[key]
            self.settled.append(key)
            if ranges.contains(refused, key.sequence):
                self.quarantine.append(key)
        return len(gone)


def _place(spooled: Spooled) -> int:
    number = spooled.key.sequence
    return -number if spooled.urgency is Urgency.LIVE else number
