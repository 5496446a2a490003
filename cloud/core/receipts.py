"""Which part of the ledger a receipt tells: any part is true, the part just touched is useful."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

from cloud.core.arrivals import Arrivals, Life
from cloud.core.ledger import Entries, Entry
from wire import ranges
from wire.batch import Tombstone
from wire.control import Receipt, encode_receipt
from wire.ids import Epoch, HubId, Region, UnixMs
from wire.limits import RANGES_PER_RECEIPT_MAX
from wire.ranges import Ranges
from wire.topics import Channel, topic


def receipt(store_id: UUID, epoch: Epoch, entry: Entry, asked: Ranges, now_ms: UnixMs) -> Receipt:
    """Return what to tell a hub of one of its lives.

    Args:
        store_id: Whose promise it is.
        epoch: Which life.
        entry: The ledger's committed row.
        asked: The sequences this is about; every range of ``received`` they touch is told, the
            lowest range besides, up to the limit of a receipt.
        now_ms: The cloud's clock.
    """
    told = tuple(
        (low, high)
        for place, (low, high) in enumerate(entry.received)
        if place == 0 or _touches(asked, low, high)
    )[:RANGES_PER_RECEIPT_MAX]
    refused = ranges.intersect(entry.refused, told)
    if len(refused) > RANGES_PER_RECEIPT_MAX:
        # Whoever is told "received" must be told "refused" as well: tell less of both.
        wanted = ranges.intersect(refused, asked) or refused
        kept = wanted[:RANGES_PER_RECEIPT_MAX]
        told, refused = kept, kept
    return Receipt(store_id, epoch, told, refused, now_ms)


def answers(
    arrivals: Arrivals, entries: Entries, store_id: UUID, now_ms: UnixMs
) -> list[tuple[str, bytes]]:
    """Return topic and body of every receipt owed after a flush is committed.

    Args:
        arrivals: What was flushed; duplicates are owed a receipt as much as news.
        entries: The committed rows of all their lives.
        store_id: Whose promise it is.
        now_ms: The cloud's clock.
    """
    asked: dict[Life, list[tuple[int, int]]] = defaultdict(list)
    regions: dict[HubId, Region] = {}
    for parcel in arrivals.parcels.values():
        regions[parcel.key.hub_id] = parcel.seal.region
        asked[parcel.life].append((parcel.key.sequence, parcel.key.sequence + 1))
        if isinstance(lost := parcel.content, Tombstone):
            asked[Life(parcel.key.hub_id, lost.epoch)].append((lost.low, lost.high))
    for question in arrivals.questions.values():
        regions[question.address.hub_id] = question.address.region
        for held in question.hello.epochs:
            asked[Life(question.address.hub_id, held.epoch)].extend(held.held)
    return [
        (
            topic(regions[life.hub_id], life.hub_id, Channel.RECEIPT),
            encode_receipt(
                receipt(
                    store_id, life.epoch, entries.get(life, Entry()), ranges.normal(about), now_ms
                )
            ),
        )
        for life, about in asked.items()
    ]


def _touches(asked: Iterable[tuple[int, int]], low: int, high: int) -> bool:
    return any(first < high and low < last for first, last in asked)
