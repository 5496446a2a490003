"""Dead letters judged again, one at a time, by the same path as everything that arrives."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from cloud.core.arrivals import Arrivals, sort_out
from cloud.core.dead_letters import Decision, Fate, Letter, State, fault_of
from cloud.core.outcome import Outcome
from cloud.core.reach import Reach
from cloud.ingest.service import REACH, Flush, Ingest
from cloud.ingest.sift import FAULTS
from cloud.ports import Store, Transaction
from wire.clock import Clock
from wire.errors import InfrastructureError
from wire.ids import BatchKey
from wire.limits import REASON_CHARS_MAX

NOBODY_MORE: Final = "its key is settled by another content"


class LetterTransaction(Transaction, Protocol):
    """A transaction in which one letter is decided."""

    async def letter(self, letter_id: int) -> Letter | None:
        """Return a letter, locked until the end, so that one decides at a time; None: no such."""
        ...

    async def reopen(self, key: BatchKey) -> None:
        """Let a refused sequence be as if it had never come: ledger, locked, and log.

        Nothing happens if the ledger does not say that it was refused.
        """
        ...

    async def fail(self, letter_id: int, reason: str) -> None:
        """Count another attempt, with its reason."""
        ...

    async def decide(self, letter_id: int, state: State, by: str) -> None:
        """Record what was decided, and by whom."""
        ...


class LetterStore(Store, Protocol):
    """A store whose transactions know its letters."""

    def transaction(self) -> AbstractAsyncContextManager[LetterTransaction]:
        """See ``Store``."""
        ...

    async def letter(self, letter_id: int) -> Letter | None:
        """Return a letter as it is committed, None if there is no such."""
        ...


class Letters:
    """Decides dead letters. Each decision is one transaction, so a crash leaves all or nothing."""

    def __init__(self, store: LetterStore, clock: Clock, *, reach: Reach = REACH) -> None:
        """Take the neighbours; own none of them."""
        self._store = store
        self._ingest = Ingest(store, clock, reach=reach)

    async def replay(self, letter_id: int, by: str) -> Decision:
        """Judge a letter again, alone, as if it arrived now. Idempotent: stored once at most.

        Raises:
            InfrastructureError: Nothing was committed, or everything was.
        """
        arrivals = Arrivals()
        letter = await self._store.letter(letter_id)
        if letter is not None and letter.state is State.KEPT and fault_of(letter) is None:
            arrivals = sort_out([letter])
        try:
            return await self._replay(letter_id, by, arrivals)
        except FAULTS as fault:  # undone: it is poison still
            return await self._fail(letter_id, f"{type(fault).__name__}: {fault}")

    async def drop(self, letter_id: int, by: str) -> Decision:
        """Record that a letter is never to be stored. Its record and its bytes stay. Idempotent.

        Raises:
            InfrastructureError: It may be recorded, or not.
        """
        async with self._store.transaction() as transaction:
            letter = await transaction.letter(letter_id)
            if letter is None or letter.state is not State.KEPT:
                return _decided(letter_id, letter)
            await transaction.decide(letter_id, State.DROPPED, by)
            return Decision(letter_id, Fate.DROPPED)

    async def _replay(self, letter_id: int, by: str, arrivals: Arrivals) -> Decision:
        flush = await self._ingest.prepare(arrivals)
        async with self._store.transaction() as transaction:
            letter = await transaction.letter(letter_id)
            if letter is None or letter.state is not State.KEPT:
                return _decided(letter_id, letter)
            return await self._judge(transaction, letter, flush, by)

    async def _fail(self, letter_id: int, why: str) -> Decision:
        reason = why[:REASON_CHARS_MAX]
        async with self._store.transaction() as transaction:
            letter = await transaction.letter(letter_id)
            if letter is None or letter.state is not State.KEPT:
                return _decided(letter_id, letter)
            await transaction.fail(letter_id, reason)
            return Decision(letter_id, Fate.STILL_BAD, reason)

    async def _judge(
        self, transaction: LetterTransaction, letter: Letter, flush: Flush, by: str
    ) -> Decision:
        if (fault := fault_of(letter)) is not None:
            await transaction.fail(letter.letter_id, fault)
            return Decision(letter.letter_id, Fate.STILL_BAD, fault)
        await transaction.reopen(letter.key)
        done = await self._ingest.settle(transaction, flush)
        if done.batches["left"]:
            raise InfrastructureError("the ledger has no room for this batch just now")
        if done.batches["refused"]:  # ingest itself has counted the attempt
            again = await transaction.letter(letter.letter_id)
            assert again is not None, "a letter is never deleted"
            return Decision(letter.letter_id, Fate.STILL_BAD, again.reason)
        if done.batches["duplicates"]:
            await transaction.fail(letter.letter_id, NOBODY_MORE)
            return Decision(letter.letter_id, Fate.STILL_BAD, NOBODY_MORE)
        await transaction.decide(letter.letter_id, State.REPLAYED, by)
        return _stored(letter.letter_id, done)


def _decided(letter_id: int, letter: Letter | None) -> Decision:
    if letter is None:
        return Decision(letter_id, Fate.UNKNOWN)
    return Decision(letter_id, Fate.DECIDED, letter.state)


def _stored(letter_id: int, done: Outcome) -> Decision:
    return Decision(
        letter_id,
        Fate.STORED,
        rows=done.rows,
        evidence=done.evidence,
        refused_rows=done.refused_rows.total(),
        duplicate_rows=done.duplicate_rows,
        conflicts=done.conflicts,
    )
