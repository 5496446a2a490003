"""What the stages need from the outside world, in their own words."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from cloud.core.arrivals import DeadLetter, Lent, Life, Parcel
from cloud.core.detect_state import SENSORS_PER_HUB_MAX
from cloud.core.ledger import Entry
from cloud.core.rows import Rows
from wire.batch import Tombstone
from wire.ids import BatchKey, HubId, Region, SensorId, UnixMs
from wire.limits import READINGS_PER_BATCH_MAX
from wire.topics import Lane

NOBODY: Final = HubId("")
DEAD_LETTERS_PER_HUB_MAX: Final = 1_000  # of at most 256 KiB: people have read enough by then
assert SENSORS_PER_HUB_MAX >= READINGS_PER_BATCH_MAX, "a hub's first batch must fit"


class Delivery(Lent, Protocol):
    """One message a broker has lent us until we say what became of it."""

    async def ack(self) -> None:
        """Promise the broker it may forget this message. Call only after the commit."""
        ...


class Inbox(Protocol):
    """Messages arriving, bounded in bytes; what does not fit is counted and comes again."""

    def deliveries(self) -> AsyncIterator[Sequence[Delivery]]:
        """Yield what has come since last asked, never nothing; unacknowledged ones may come again.

        Raises:
            InfrastructureError: The broker is gone.
        """
        ...


class Lanes(Protocol):
    """Words to hubs and to other stages."""

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Hand over ``(topic, body)`` of each, none retained, many at once.

        Raises:
            InfrastructureError: Some may not have gone.
        """
        ...

    async def send(self, lane: Lane, body: bytes) -> None:
        """Put one message on a lane.

        Raises:
            InfrastructureError: It may not have gone.
        """
        ...


class Transaction(Protocol):
    """One transaction of the store, READ COMMITTED. Every method may raise InfrastructureError."""

    async def entries(self, lives: Collection[Life]) -> dict[Life, Entry]:
        """Return the ledger's committed rows of those lives that have one, without a lock."""
        ...

    async def opened(self, hub_ids: Collection[HubId]) -> dict[HubId, int]:
        """Return how many lives each hub has opened within the last hour; 0 may be left out."""
        ...

    async def contents(self, keys: Sequence[BatchKey]) -> dict[BatchKey, list[tuple[int, bool]]]:
        """Return ``(crc, thinned)`` of every content known under each key."""
        ...

    async def savepoint(self) -> None:
        """Mark the place ``roll_back`` returns to."""
        ...

    async def roll_back(self) -> None:
        """Undo everything since ``savepoint``, locks included; the transaction goes on."""
        ...

    async def add_readings(self, rows: Rows) -> SensorId | None:
        """Store routine rows, sorted, each instant once.

        Returns:
            None; or a sensor one of whose instants is stored already: then nothing was stored and
            only ``roll_back`` is legal.
        """
        ...

    async def stored(self, rows: Rows) -> Rows:
        """Return the routine rows stored at instants of ``rows``, sorted."""
        ...

    async def add_evidence(self, rows: Rows) -> int:
        """Store evidence rows, sorted, each instant once; return how many were new."""
        ...

    async def add_log(self, parcels: Sequence[Parcel]) -> None:
        """Note the arrival of batches and tombstones."""
        ...

    async def add_refused(
        self, rows: Rows, reasons: Sequence[str], keys: Sequence[BatchKey]
    ) -> None:
        """Keep refused rows, each with its reason; ``rows.batch`` points into ``keys``."""
        ...

    async def add_conflicts(self, rows: Rows, keys: Sequence[BatchKey]) -> None:
        """Keep rows that contradict stored ones; ``rows.batch`` points into ``keys``."""
        ...

    async def add_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        """Keep messages no retry can help; one that is kept already counts another attempt.

        Returns:
            How many were not kept, for a hub has ``DEAD_LETTERS_PER_HUB_MAX`` older ones. Workers
            that write at once may each overrun it by what they write.
        """
        ...

    async def add_sheds(self, tombstones: Sequence[Tombstone]) -> None:
        """Keep what hubs say they lost, each under the tombstone's key; one kept already stays."""
        ...

    async def lock(self, lives: Mapping[Life, Region]) -> dict[Life, Entry]:
        """Make the rows that are missing, lock all in one order, and return them as they are."""
        ...

    async def settle(self, entries: Mapping[Life, Entry]) -> None:
        """Write locked rows."""
        ...


class Store(Protocol):
    """Where readings live for good. Every method may raise InfrastructureError."""

    @property
    def store_id(self) -> UUID:
        """The store's name, which hubs pin."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin; commit when the block ends, undo everything when it raises."""
        ...

    async def ensure_months(self, instants_ms: Collection[UnixMs]) -> None:
        """Make room for the months that hold these instants. Idempotent."""
        ...

    async def claim(
        self, sensor_ids: NDArray[np.int64], hub_ids: Sequence[HubId], regions: Sequence[Region]
    ) -> list[HubId]:
        """Register sensors nobody speaks for; return who speaks for each. Idempotent.

        A hub speaks for at most ``SENSORS_PER_HUB_MAX``, those it claimed first; what it claims
        beyond them is registered for ``NOBODY``, that is, not at all. ``EVERY_DOOR`` speaks for
        any number.

        Args:
            sensor_ids: Sorted, unique.
            hub_ids: Who claims each.
            regions: Where that hub stands.
        """
        ...


class Trials(Protocol):
    """How often a suspect was tried, whatever became of who tried it."""

    async def begin(self, digest: bytes) -> int:
        """Note that a trial begins, and return how many have by now; 1 is the first.

        Raises:
            InfrastructureError: Nothing may be tried.
        """
        ...

    async def spare(self, digest: bytes) -> None:
        """Note that a trial did not end who tried: it counts no more. No trial begun, no effect.

        Raises:
            InfrastructureError: It may still count.
        """
        ...
