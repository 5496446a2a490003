"""What one flush did: counts for the metrics, receipts for the hubs."""

from collections import Counter
from dataclasses import dataclass, field

from cloud.core.arrivals import Arrivals, Life, Unreadable
from cloud.core.ledger import Entry, Verdict
from cloud.core.rows import Rows
from wire.batch import Batch, Kind, Tombstone


@dataclass(slots=True)
class Outcome:
    """A committed flush.

    Attributes:
        rows: Routine rows stored.
        bytes: What the routine batches that carried them weighed on the wire.
        evidence: Evidence rows stored.
        batches: Batches settled, by fate: ``stored``, ``refused``, ``tombstones``, ``duplicates``,
            ``reused``, ``left``, and those without a fate: ``damaged``, ``malformed``,
            ``given_up``, ``impostors``; and ``unkept``: how many of those refused, reused or of
            impostors found no room among their hub's dead letters.
        refused_rows: By reason.
        duplicate_rows: Rows that said again what is stored.
        conflicts: Rows that said something else; kept aside.
        shed: Sequences newly lost on purpose.
        entries: The ledger's rows it touched, as committed.
        fresh: The routine rows themselves, sorted; None if there were none.
        rebuilt: How often another worker was faster, or an instant was there already.
    """

    rows: int = 0
    bytes: int = 0
    evidence: int = 0
    batches: Counter[str] = field(default_factory=Counter)
    refused_rows: Counter[str] = field(default_factory=Counter)
    duplicate_rows: int = 0
    conflicts: int = 0
    shed: int = 0
    entries: dict[Life, Entry] = field(default_factory=dict)
    fresh: Rows | None = None
    rebuilt: int = 0


def counted(arrivals: Arrivals, verdict: Verdict, rebuilt: int) -> Outcome:
    """Return an outcome that counts the fates of batches; their rows are still to come."""
    batches = Counter(arrivals.counts)
    batches["duplicates"] += len(verdict.known)
    batches["left"] += len(verdict.left)
    weight = 0
    for parcel in verdict.new:
        match parcel.content:
            case Batch():
                batches["stored"] += 1
                weight += len(parcel.body) if parcel.seal.kind is Kind.ROUTINE else 0
            case Tombstone():
                batches["tombstones"] += 1
            case Unreadable():
                batches["refused"] += 1
    return Outcome(bytes=weight, batches=batches, rebuilt=rebuilt)
