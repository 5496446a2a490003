"""The rows of one flush, judged before the transaction begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.core.arrivals import Parcel
from cloud.core.reach import Reach
from cloud.core.rows import FAULTS, FINE, Rows, Unique, gather, screen, unique
from cloud.ingest.census import Census
from wire.batch import Batch, Kind
from wire.ids import BatchKey, UnixMs


@dataclass(frozen=True, slots=True, eq=False)
class Cargo:
    """The rows of one kind.

    Attributes:
        keys: What ``batch`` of all rows points into.
        unique: To be stored, sorted, each instant once; and what contradicts them.
        refused: Rows with a fault.
        reasons: The fault of each of those.
    """

    keys: Sequence[BatchKey]
    unique: Unique
    refused: Rows
    reasons: Sequence[str]


async def pack(
    parcels: Sequence[Parcel], kind: Kind, census: Census, now_ms: UnixMs, reach: Reach
) -> Cargo | None:
    """Return the rows of the parcels of one kind, None if there are none.

    Args:
        parcels: In order of key: the earlier wins an instant.
        kind: ROUTINE or EVIDENCE.
        census: Knows who speaks for a sensor.
        now_ms: The store's time.
        reach: How far back rows are taken.

    Raises:
        InfrastructureError: The census cannot say.
    """
    batches = [p.content for p in parcels if isinstance(p.content, Batch) and p.seal.kind is kind]
    if not batches:
        return None
    rows = gather(batches)
    seals = [batch.seal for batch in batches]
    strange = await census.strange(rows, seals)
    faults = screen(rows, seals, strange, now_ms, reach)
    fine = faults == FINE
    return Cargo(
        [seal.key for seal in seals],
        unique(rows if fine.all() else rows.take(fine)),
        rows.take(~fine),
        [FAULTS[fault] for fault in faults[~fine].tolist()],
    )
