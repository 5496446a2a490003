"""Why a sequence has no readings in the store, from the ledger and what its hub last said."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from wire.ids import Epoch, HubId, Region


class Cause(StrEnum):
    """Why there is a gap."""

    PENDING = "pending"  # not yet received, and the hub has not spoken of it since
    HELD = "held"  # the hub says that it still holds batches of this life
    LOST = "lost"  # announced, but the hub no longer holds it and it never arrived
    REFUSED = "refused"  # arrived, and no retry could have stored it
    SHED = "shed"  # given up by the hub on purpose


SETTLED = frozenset({Cause.REFUSED, Cause.SHED})


@dataclass(frozen=True, slots=True)
class Heard:
    """What a hub's last health said of one of its lives.

    Attributes:
        next_sequence: Everything below was sealed by then. None: it holds nothing of this life.
        spool_batches: How many batches of any life it still held, or None if it did not say.
        after_ledger: Whether it was heard after the ledger of this life last changed.
    """

    next_sequence: int | None
    spool_batches: int | None
    after_ledger: bool


@dataclass(frozen=True, slots=True)
class Hole:
    """Sequences ``[low, high)`` of one life of a hub, as the ledger has them.

    Attributes:
        hub_id: Whose.
        region: Where the hub stands.
        epoch: Which of its lives.
        low: First sequence.
        high: One past the last.
        settled: REFUSED or SHED; None when the sequences never arrived.
        since: When the store committed the last batch before these; without one, when it first
            heard of this life.
        observed_after: The newest reading of that last batch, or None.
        reasons: What the dead letters or the tombstones say.
        heard: What the hub last said of this life, or None if it never spoke.
    """

    hub_id: HubId
    region: Region
    epoch: Epoch
    low: int
    high: int
    settled: Cause | None
    since: datetime
    observed_after: datetime | None = None
    reasons: tuple[str, ...] = ()
    heard: Heard | None = None


def explain(hole: Hole) -> tuple[tuple[int, int, Cause], ...]:
    """Return the hole as ranges with one cause each, in order, together exactly the hole.

    A hub's spool is never behind the store: what it does not hold and the ledger does not have
    cannot arrive any more. So an empty spool, or a life the hub no longer lists, means lost.
    """
    if hole.settled is not None:
        return ((hole.low, hole.high, hole.settled),)
    heard = hole.heard
    if heard is None:
        return ((hole.low, hole.high, Cause.PENDING),)
    if heard.next_sequence is None:
        gone = Cause.LOST if heard.after_ledger else Cause.PENDING
        return ((hole.low, hole.high, gone),)
    known = Cause.LOST if heard.spool_batches == 0 else Cause.HELD
    edge = min(max(hole.low, heard.next_sequence), hole.high)
    parts = ((hole.low, edge, known), (edge, hole.high, Cause.PENDING))
    return tuple(part for part in parts if part[0] < part[1])
