"""Dead letters over the store's memory twin; numbered in the order they were first kept."""

from dataclasses import dataclass, field, replace
from typing import cast

from cloud.core.arrivals import KEY_REUSE, Arrivals, Parcel, Unreadable
from cloud.core.dead_letters import Letter, LetterKind, State
from cloud.core.ledger import Entry
from tests.support.builders import NOON, NORTH
from tests.support.cloud import MemoryStore, MemoryTransaction, Tables
from wire import ranges
from wire.batch import Batch, Tombstone
from wire.codec import encode, peek
from wire.ids import BatchKey


def misread(*batches: Batch | Tombstone, why: str = "no such column") -> Arrivals:
    """Return these batches as they arrive at the ingest of a version that cannot read them."""
    arrivals = Arrivals()
    for batch in batches:
        body = encode(batch)
        crc = peek(body).crc
        arrivals.parcels[batch.key] = Parcel(batch.seal, crc, Unreadable(why), body, NOON)
    return arrivals


@dataclass
class LetterTables(Tables):
    """A transaction's changes, those included that take something back."""

    unlogged: set[BatchKey] = field(default_factory=set)


class MemoryLetters(MemoryStore):
    """See ``cloud.ingest.replay.LetterStore``."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = _Committed()

    def transaction(self) -> "MemoryLetterTransaction":
        return MemoryLetterTransaction(self)

    async def letter(self, letter_id: int) -> Letter | None:
        await self.pause()
        return _letter(self.tables, letter_id)


class _Committed(Tables):
    def put(self, more: Tables) -> None:
        for key in more.unlogged if isinstance(more, LetterTables) else ():
            del self.log[key]
        super().put(more)


class MemoryLetterTransaction(MemoryTransaction):
    """See ``cloud.ingest.replay.LetterTransaction``."""

    def __init__(self, store: MemoryLetters) -> None:
        super().__init__(store)
        self._mine = LetterTables()

    async def __aenter__(self) -> "MemoryLetterTransaction":
        await super().__aenter__()
        return self

    async def letter(self, letter_id: int) -> Letter | None:
        await self._own(("letter", letter_id))
        seen = Tables(
            dead=self._store.tables.dead | self._mine.dead,
            decided=self._store.tables.decided | self._mine.decided,
        )
        return _letter(seen, letter_id)

    async def reopen(self, key: BatchKey) -> None:
        life = key.hub_id, key.epoch
        committed = [each for each in self._store.tables.ledger if each == life]
        for each in committed:
            entry = (await self.lock({each: NORTH}))[each]
            if ranges.contains(entry.refused, key.sequence):
                self._mine.ledger[each] = _without(entry, key.sequence)
                cast(LetterTables, self._mine).unlogged.add(key)

    async def fail(self, letter_id: int, reason: str) -> None:
        await self._store.pause()
        name = list(self._store.tables.dead)[letter_id - 1]
        self._mine.dead[name] = replace(self._store.tables.dead[name], reason=reason)
        self._mine.attempts[name] += 1

    async def decide(self, letter_id: int, state: State, by: str) -> None:
        await self._store.pause()
        self._mine.decided[list(self._store.tables.dead)[letter_id - 1]] = (state, by)


def _without(entry: Entry, sequence: int) -> Entry:
    gone = ((sequence, sequence + 1),)
    return replace(
        entry,
        received=ranges.minus(entry.received, gone),
        refused=ranges.minus(entry.refused, gone),
    )


def _letter(tables: Tables, letter_id: int) -> Letter | None:
    names = list(tables.dead)
    if not 0 < letter_id <= len(names):
        return None
    key, crc = name = names[letter_id - 1]
    dead = tables.dead[name]
    kind = LetterKind.REFUSED
    if dead.reason == KEY_REUSE:
        kind = LetterKind.REUSED
    elif dead.reason.startswith("claims to be "):
        kind = LetterKind.CLAIM
    state = State(tables.decided.get(name, (State.KEPT, ""))[0])
    return Letter(letter_id, key, crc, kind, state, dead.reason, dead.topic, dead.body, NOON)
