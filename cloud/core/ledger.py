"""The fate of every sequence: who is new, who is known, and what the ledger says afterwards."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final

from cloud.core.arrivals import Life, Parcel, Unreadable
from wire import ranges
from wire.batch import Tombstone
from wire.ids import HubId
from wire.limits import RANGES_PER_EPOCH_MAX
from wire.ranges import EMPTY, Ranges

EPOCHS_PER_HUB_HOUR_MAX: Final = 240  # a life every 15 s: an agent that crashes in a loop


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger.

    Attributes:
        received: Settled sequences.
        refused: Those of ``received`` that were refused.
        shed: Those of ``received`` that never arrived and never will.
        next_sequence: One past the highest the hub is known to have sealed.
    """

    received: Ranges = EMPTY
    refused: Ranges = EMPTY
    shed: Ranges = EMPTY
    next_sequence: int = 0


Entries = Mapping[Life, Entry]


@dataclass(slots=True)
class Verdict:
    """What becomes of parcels, given the ledger.

    Attributes:
        new: To be settled now, in order of key.
        known: Settled before.
        left: Over a bound of ours: no fate and no receipt, so their hub keeps them.
    """

    new: list[Parcel] = field(default_factory=list)
    known: list[Parcel] = field(default_factory=list)
    left: list[Parcel] = field(default_factory=list)


def lives_of(parcels: Iterable[Parcel]) -> set[Life]:
    """Return every ledger row these parcels touch, tombstones' targets included."""
    found = set()
    for parcel in parcels:
        found.add(parcel.life)
        if isinstance(parcel.content, Tombstone):
            found.add(_target(parcel.content))
    return found


def judge(
    parcels: Iterable[Parcel], entries: Entries, room: Mapping[HubId, int] | None = None
) -> Verdict:
    """Return each parcel's place.

    Args:
        parcels: Each key once.
        entries: The ledger's rows of all their lives, as far as it has them.
        room: How many more lives each hub may open just now; None: as many as it likes.
    """
    verdict = Verdict()
    opened = _opened(parcels := sorted(parcels, key=lambda each: each.key), entries, room)
    for life, group in groupby(parcels, key=lambda each: each.life):
        if life in opened:
            _sieve(list(group), opened[life].received, verdict)
        else:
            verdict.left.extend(group)
    _bound_tombstones(verdict, opened)
    return verdict


def settle(entries: Entries, new: Sequence[Parcel]) -> dict[Life, Entry]:
    """Return the ledger's rows after these parcels, which it did not know, are settled.

    Batches first: a tombstone sheds exactly those that have not arrived, this flush included.
    """
    settled = dict(entries)
    for life, group in groupby(new, key=lambda each: each.life):
        parcels = list(group)
        entry = settled.get(life, Entry())
        refused = [p.key.sequence for p in parcels if isinstance(p.content, Unreadable)]
        settled[life] = replace(
            entry,
            received=ranges.union(
                entry.received, ranges.from_numbers(p.key.sequence for p in parcels)
            ),
            refused=ranges.union(entry.refused, ranges.from_numbers(refused)),
            next_sequence=max(entry.next_sequence, parcels[-1].key.sequence + 1),
        )
    for parcel in new:
        if isinstance(parcel.content, Tombstone):
            life = _target(parcel.content)
            settled[life] = _shed(settled.get(life, Entry()), parcel.content)
    return settled


def announce(entry: Entry, next_sequence: int) -> Entry:
    """Return the row once its hub has said how far it has got. Never goes back."""
    return replace(entry, next_sequence=max(entry.next_sequence, next_sequence))


def shed_since(before: Entries, after: Entries) -> int:
    """Return how many sequences became shed."""
    return sum(ranges.count(entry.shed) for entry in after.values()) - sum(
        ranges.count(entry.shed) for entry in before.values()
    )


def _shed(entry: Entry, lost: Tombstone) -> Entry:
    named = ((lost.low, lost.high),)
    return replace(
        entry,
        received=ranges.union(entry.received, named),
        shed=ranges.union(entry.shed, ranges.minus(named, entry.received)),
        next_sequence=max(entry.next_sequence, lost.high),
    )


def _target(lost: Tombstone) -> Life:
    return Life(lost.key.hub_id, lost.epoch)


def _opened(
    parcels: Sequence[Parcel], entries: Entries, room: Mapping[HubId, int] | None
) -> dict[Life, Entry]:
    """Return the rows that exist or may be made."""
    opened = dict(entries)
    left = dict(room) if room is not None else None
    for life in sorted(lives_of(parcels) - opened.keys()):
        if left is not None:
            if left.get(life.hub_id, 0) <= 0:
                continue
            left[life.hub_id] -= 1
        opened[life] = Entry()
    return opened


def _sieve(group: Sequence[Parcel], received: Ranges, verdict: Verdict) -> None:
    """Sort one life's parcels, rising by sequence, into ``verdict``."""
    lows = [low for low, _ in received]
    held, last = len(received), -2
    for parcel in group:
        number = parcel.key.sequence
        at = bisect_right(lows, number) - 1
        if at >= 0 and number < received[at][1]:
            verdict.known.append(parcel)
            continue
        after = last == number - 1 or (at >= 0 and received[at][1] == number)
        before = at + 1 < len(lows) and lows[at + 1] == number + 1
        grown = held + 1 - after - before
        if grown > max(held, RANGES_PER_EPOCH_MAX):
            verdict.left.append(parcel)
            continue
        held, last = grown, number
        verdict.new.append(parcel)


def _bound_tombstones(verdict: Verdict, opened: Entries) -> None:
    """Leave those whose target may not be opened or has no room for another range."""
    for parcel in [p for p in verdict.new if isinstance(p.content, Tombstone)]:
        assert isinstance(parcel.content, Tombstone)
        target = opened.get(_target(parcel.content))
        if target is None or (
            len(ranges.union(target.received, ((parcel.content.low, parcel.content.high),)))
            > max(len(target.received), RANGES_PER_EPOCH_MAX)
        ):
            verdict.new.remove(parcel)
            verdict.left.append(parcel)
