"""Which part of the ledger a receipt tells: any part is true, the part just touched is useful."""

from collections.abc import Iterable
from uuid import UUID

from cloud.core.ledger import Entry
from wire import ranges
from wire.control import Receipt
from wire.ids import Epoch, UnixMs
from wire.limits import RANGES_PER_RECEIPT_MAX
from wire.ranges import Ranges


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


def _touches(asked: Iterable[tuple[int, int]], low: int, high: int) -> bool:
    return any(first < high and low < last for first, last in asked)
