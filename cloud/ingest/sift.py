"""Poison: a batch that makes ingest itself fail. Found, tried alone, and refused in the end."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import structlog

from cloud.core.arrivals import Arrivals, Parcel, Unreadable
from cloud.core.outcome import Outcome
from cloud.ingest.service import Ingest
from wire.errors import PeerError
from wire.limits import REASON_CHARS_MAX

TRIES: Final = 3
CREDIT_MAX: Final = 1_000
FAULTS: Final = (
    *(PeerError, ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError),
    *(UnicodeError, ValueError),
)
"""What code raises over content it never expected; not what says that a neighbour is away."""

Step: TypeAlias = Callable[[str, Callable[[], Awaitable[Outcome]]], Awaitable[Outcome]]
Settled: TypeAlias = list[tuple[Arrivals, Outcome]]
_log = structlog.get_logger(__name__)


class Credit:
    """How many batches may be refused for a fault of ours.

    A refusal is final for the hub, so a fault that meets every batch must not refuse them all: each
    refusal costs the credit of one batch stored before, by this process.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.left = 0

    def earn(self, done: Outcome) -> None:
        """Take note of batches that were stored."""
        self.left = min(self.left + done.batches["stored"], CREDIT_MAX)

    def spend(self, refusals: int) -> bool:
        """Pay for all of these refusals; return False if there is not enough for them."""
        paid = self.left >= refusals
        self.left -= refusals if paid else 0
        return paid


class Sieve:
    """Settles in parts what could not be settled at once.

    Without credit for a refusal the fault escapes, and ingest stops as it does for any bug.
    """

    def __init__(self, ingest: Ingest, step: Step, credit: Credit | None = None) -> None:
        """Take the way to the store, what repeats a step while a neighbour is away, and credit."""
        self._ingest = ingest
        self._step = step
        self.credit = Credit() if credit is None else credit

    async def sift(self, arrivals: Arrivals) -> Settled:
        """Settle arrivals, the good ones first, then refuse those no try could settle.

        Raises:
            InfrastructureError: A neighbour is away for longer than the policy waits.
            Exception: One of ``FAULTS``, if it is not one batch's.
        """
        poison: list[tuple[Arrivals, str]] = []
        last: Exception | None = None
        settled: Settled = []
        parts = [arrivals]
        while parts:
            part = parts.pop()
            try:
                settled.append((part, await self._flush(part)))
            except FAULTS as fault:
                if halves := part.halves():
                    parts += halves
                elif not part.parcels:
                    raise
                elif (why := await self._alone(part, settled)) is not None:
                    poison.append((part, why))
                    last = fault
                _log.warning("a flush failed", why=repr(fault), batches=len(part.parcels))
        if last is not None and not self.credit.spend(len(poison)):
            raise last
        for part, why in poison:
            refused = _refused(part, why)
            settled.append((refused, await self._flush(refused)))
        return settled

    async def _flush(self, arrivals: Arrivals) -> Outcome:
        done = await self._step("flush", partial(self._ingest.flush, arrivals))
        self.credit.earn(done)
        return done

    async def refuse(self, parcel: Parcel, why: str) -> Settled:
        """Refuse a batch unread; credit has been spent for it.

        Raises:
            InfrastructureError: A neighbour is away for longer than the policy waits.
        """
        refused = _refused(Arrivals(parcels={parcel.key: parcel}), why)
        return [(refused, await self._flush(refused))]

    async def _alone(self, part: Arrivals, settled: Settled) -> str | None:
        """Try one batch that has just failed alone as often as it may; return why it fails."""
        why = ""
        for _ in range(TRIES - 1):
            try:
                settled.append((part, await self._flush(part)))
            except FAULTS as fault:
                why = f"{type(fault).__name__}: {fault}"
            else:
                return None
        return f"ingest failed {TRIES} times on it alone: {why}"[:REASON_CHARS_MAX]


def _refused(part: Arrivals, why: str) -> Arrivals:
    """Return one batch as what it is by now: bytes that can never be rows."""
    ((key, parcel),) = part.parcels.items()
    content = Unreadable("".join(filter(str.isprintable, why)), TRIES)
    refused: Parcel = replace(parcel, content=content)
    return Arrivals(parcels={key: refused})
