"""Ingest: batches become committed rows, and only then receipts. Nothing is lost between."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.core.arrivals import Arrivals, Life, Parcel
from cloud.core.ledger import (
    EPOCHS_PER_HUB_HOUR_MAX,
    Entry,
    Verdict,
    announce,
    judge,
    lives_of,
    settle,
    shed_since,
)
from cloud.core.outcome import Outcome, counted
from cloud.core.reach import Reach
from cloud.core.rows import months
from cloud.ingest.cargo import Cargo, pack
from cloud.ingest.census import Census
from cloud.ingest.load import Loader, keep_letters
from cloud.ports import Store, Transaction
from wire.batch import Kind, Tombstone
from wire.clock import Clock
from wire.errors import InfrastructureError
from wire.ids import HubId, Region, UnixMs

REACH: Final = Reach()
ATTEMPTS: Final = 8
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Flush:
    """Arrivals ready for their transaction.

    Attributes:
        arrivals: What it settles.
        parcels: Those with a key, in order of key.
        routine: Rows for the routine series, should every parcel be new.
        evidence: Rows kept beside it, likewise.
    """

    arrivals: Arrivals
    parcels: Sequence[Parcel]
    routine: Cargo | None
    evidence: Cargo | None


class Ingest:
    """The one path from deliveries to the store. Waits for nothing but its neighbours."""

    def __init__(self, store: Store, clock: Clock, *, reach: Reach = REACH) -> None:
        """Take the neighbours; own none of them."""
        self._store = store
        self._clock = clock
        self._reach = reach
        self._census = Census(store, clock)
        self._loader = Loader(clock)

    async def flush(self, arrivals: Arrivals) -> Outcome:
        """Settle arrivals in one transaction. Idempotent, so any failure may be tried again.

        Raises:
            InfrastructureError: Nothing was committed, or everything was.
        """
        return await self.commit(await self.prepare(arrivals))

    async def prepare(self, arrivals: Arrivals) -> Flush:
        """Return the flush of these arrivals, its sensors and months known to the store.

        Raises:
            InfrastructureError: Nothing was decided.
        """
        parcels = sorted(arrivals.parcels.values(), key=lambda each: each.key)
        return await self._flush_of(arrivals, parcels)

    async def commit(self, flush: Flush) -> Outcome:
        """Settle a prepared flush in one transaction.

        Raises:
            InfrastructureError: Nothing was committed, or everything was.
        """
        async with self._store.transaction() as transaction:
            return await self.settle(transaction, flush)

    async def settle(self, transaction: Transaction, flush: Flush) -> Outcome:
        """Settle a prepared flush within a transaction somebody else will commit.

        Load first, lock last: the story of a transaction.

        Raises:
            InfrastructureError: The transaction must not be committed.
        """
        announced = _announced(flush.arrivals)
        lives = lives_of(flush.parcels) | announced.keys()
        entries = await transaction.entries(lives)
        room = await self._room(transaction, lives - entries.keys())
        for rebuilt in range(ATTEMPTS):
            verdict = judge(flush.parcels, entries, room)
            done = counted(flush.arrivals, verdict, rebuilt)
            await transaction.savepoint()
            if await self._load(transaction, flush, verdict, done):
                told = _news(announced, entries, room)
                locked = await _lock(transaction, flush, verdict, told)
                if judge(verdict.new, locked).new == verdict.new:
                    settled = await _write(transaction, verdict, locked, told)
                    done.shed = shed_since(locked, settled)
                    done.entries = entries | settled
                    return done
            await transaction.roll_back()
            entries = await transaction.entries(lives)
        raise InfrastructureError(f"not settled in {ATTEMPTS} attempts")

    async def _load(
        self, transaction: Transaction, flush: Flush, verdict: Verdict, done: Outcome
    ) -> bool:
        if len(verdict.new) != len(flush.parcels):
            flush = await self._flush_of(flush.arrivals, verdict.new)
        if not await self._loader.load(transaction, flush.routine, flush.evidence, done):
            return False
        await keep_letters(transaction, flush.arrivals, verdict, done)
        lost = [each.content for each in verdict.new if isinstance(each.content, Tombstone)]
        if lost:
            await transaction.add_sheds(lost)
        if verdict.new:
            await transaction.add_log(verdict.new)
        return True

    async def _flush_of(self, arrivals: Arrivals, parcels: Sequence[Parcel]) -> Flush:
        now_ms = self._clock.now_ms()
        routine, evidence = [
            await pack(parcels, kind, self._census, now_ms, self._reach)
            for kind in (Kind.ROUTINE, Kind.EVIDENCE)
        ]
        needed = {now_ms, UnixMs(now_ms + _DAY_MS)}  # the log's own month, and the one to come
        for cargo in (routine, evidence):
            if cargo is not None:
                needed |= months(cargo.unique.rows)
        await self._store.ensure_months(needed)
        return Flush(arrivals, parcels, routine, evidence)

    async def _room(self, transaction: Transaction, missing: Iterable[Life]) -> dict[HubId, int]:
        """Return how many more lives each hub may open within this hour."""
        hubs = {life.hub_id for life in missing}
        opened = await transaction.opened(hubs) if hubs else {}
        return {hub: EPOCHS_PER_HUB_HOUR_MAX - opened.get(hub, 0) for hub in hubs}


def _announced(arrivals: Arrivals) -> dict[Life, int]:
    return {
        Life(question.address.hub_id, held.epoch): held.next_sequence
        for question in arrivals.questions.values()
        for held in question.hello.epochs
    }


def _news(
    announced: Mapping[Life, int], entries: Mapping[Life, Entry], room: Mapping[HubId, int]
) -> dict[Life, int]:
    """Return the announcements that say more than the ledger knows."""
    return {
        life: next_sequence
        for life, next_sequence in announced.items()
        if (life not in entries and room.get(life.hub_id, 0) > 0)
        or (life in entries and next_sequence > entries[life].next_sequence)
    }


async def _lock(
    transaction: Transaction, flush: Flush, verdict: Verdict, told: Mapping[Life, int]
) -> dict[Life, Entry]:
    lives = lives_of(verdict.new) | told.keys()
    regions: dict[HubId, Region] = {
        address.hub_id: address.region for address in flush.arrivals.questions
    }
    regions |= {parcel.key.hub_id: parcel.seal.region for parcel in verdict.new}
    return await transaction.lock({life: regions[life.hub_id] for life in lives}) if lives else {}


async def _write(
    transaction: Transaction,
    verdict: Verdict,
    locked: Mapping[Life, Entry],
    told: Mapping[Life, int],
) -> dict[Life, Entry]:
    settled = settle(locked, verdict.new)
    for life, next_sequence in told.items():
        settled[life] = announce(settled[life], next_sequence)
    if settled:
        await transaction.settle(settled)
    return settled
