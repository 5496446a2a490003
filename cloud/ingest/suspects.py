"""Suspects: what was lent to readers that died. Each is judged alone; none is guilty by that.

When a batch kills who reads it (no exception, an end), all that was lent with it comes again, and
in the end the broker sets all of it aside. Here each is tried on its own, the trial noted before it
begins: innocent ones are stored as if nothing had been. One whose trials have ended the process
``TRIES`` times is refused unread.
"""

import hashlib
from collections import Counter, deque
from typing import Final
from uuid import UUID

import structlog

from cloud.core.arrivals import Parcel, Unreadable, sort_out
from cloud.core.outcome import Outcome
from cloud.core.receipts import answers
from cloud.ingest.meters import Meters
from cloud.ingest.sift import TRIES, Settled, Sieve
from cloud.ports import Delivery, Inbox, Lanes, Trials
from cloud.tasks import together
from wire.clock import Clock
from wire.codec import open_wire
from wire.errors import PeerError
from wire.topics import Channel, parse

HELD_MAX: Final = 64
LOOK_EVERY_MS: Final = 250
WHY: Final = f"ingest failed {TRIES} times on it alone: who read it died"

_BATCHES: Final = frozenset({Channel.BATCH, Channel.URGENT})
_log = structlog.get_logger(__name__)


class Docket:
    """How often each suspect was tried. One per process: a trial it outlived is no new one."""

    def __init__(self, trials: Trials) -> None:
        """Take what remembers trials when processes end."""
        self._trials = trials
        self._begun: dict[bytes, int] = {}

    async def begin(self, digest: bytes) -> int:
        """Return how many trials have begun, this one included.

        Raises:
            InfrastructureError: Nothing may be tried.
        """
        if digest not in self._begun:
            self._begun[digest] = await self._trials.begin(digest)
        return self._begun[digest]

    async def spare(self, digest: bytes) -> None:
        """Note that what began has ended, and we have not.

        Raises:
            InfrastructureError: It is not noted.
        """
        await self._trials.spare(digest)

    def close(self, digest: bytes) -> None:
        """Forget what the broker may forget."""
        self._begun.pop(digest, None)


class Suspects:
    """One reader of the dead letters of hubs."""

    def __init__(
        self,
        sieve: Sieve,
        inbox: Inbox,
        lanes: Lanes,
        docket: Docket,
        store_id: UUID,
        clock: Clock,
        meters: Meters,
    ) -> None:
        """Take the neighbours; the inbox lends ``HELD_MAX`` at most, the sieve is ours alone."""
        self._sieve, self._inbox, self._lanes, self._docket = sieve, inbox, lanes, docket
        self._store_id, self._clock, self._meters = store_id, clock, meters
        self._guilty: deque[tuple[Delivery, bytes, Parcel]] = deque()

    async def run(self) -> None:
        """Judge until cancelled.

        Raises:
            InfrastructureError: A neighbour is gone; who is here comes again.
            Exception: A fault that is not one batch's; see ``Sieve``.
        """
        await together(self._judge(), self._condemn())

    async def _judge(self) -> None:
        async for burst in self._inbox.deliveries():
            for delivery in burst:
                await self._try(delivery)

    async def _try(self, delivery: Delivery) -> None:
        digest = hashlib.sha256(f"{delivery.topic}\0".encode() + delivery.body).digest()
        begun = await self._docket.begin(digest)
        said = {"topic": delivery.topic, "trial": begun, "digest": digest.hex()}
        if begun <= TRIES:
            _log.info("tried alone", **said)
            settled = await self._sieve.sift(sort_out([delivery]))
            await self._docket.spare(digest)
            await self._done(delivery, digest, settled)
        elif begun <= 2 * TRIES and (parcel := _unread(delivery)) is not None:
            await self._docket.spare(digest)
            self._guilty.append((delivery, digest, parcel))
        else:  # its header cannot be read: there is nobody to tell
            _log.error("given up", **said)
            await self._done(
                delivery, digest, [(sort_out([]), Outcome(batches=Counter(given_up=1)))]
            )

    async def _condemn(self) -> None:
        """Refuse the guilty once it is known that not every batch ends as they do."""
        while True:
            while self._guilty and self._sieve.credit.spend(1):
                delivery, digest, parcel = self._guilty.popleft()
                _log.error("refused unread", **parcel.key._asdict())
                await self._done(delivery, digest, await self._sieve.refuse(parcel, WHY))
            await self._clock.sleep_ms(LOOK_EVERY_MS)

    async def _done(self, delivery: Delivery, digest: bytes, settled: Settled) -> None:
        """Tell what is committed, then let the broker forget."""
        now_ms = self._clock.now_ms()
        for arrivals, done in settled:
            await self._lanes.publish(answers(arrivals, done.entries, self._store_id, now_ms))
            self._meters.stored(done, 0.0, 0.0, now_ms)
        await delivery.ack()
        self._docket.close(digest)


def _unread(delivery: Delivery) -> Parcel | None:
    """Return a batch by its header alone; None if that does not say whose it is."""
    try:
        address = parse(delivery.topic)
        opened = open_wire(delivery.body) if address.channel in _BATCHES else None
    except PeerError:
        return None
    if opened is None:
        return None
    seal = opened.seal
    if (seal.region, seal.key.hub_id) != (address.region, address.hub_id):
        return None
    return Parcel(seal, opened.crc, Unreadable(WHY), delivery.body, delivery.received_at_ms)
