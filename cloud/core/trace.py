"""One reading's way from probe to alert, told from what the store knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cloud.core.gaps import SETTLED, Hole
from cloud.core.views import Reading, Row
from wire.batch import Kind

WINDOW_MAX: Final = timedelta(minutes=10)
"""How long a row may stand for readings after its own instant."""


class Verdict(StrEnum):
    """What became of the reading."""

    STORED = "stored"  # as a row of its own
    IN_WINDOW = "stored_in_window"  # within the row of its window
    REFUSED = "refused"  # its row was refused, its batch's others were not
    SHED = "shed"  # given up by the hub on purpose
    MISSING = "missing"  # batches of its hub are missing; it may be in one
    NOT_SEEN = "not_seen"  # everything its hub announced is here, and it is not in it
    UNKNOWN_SENSOR = "unknown_sensor"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store knows of one sensor at one instant; rows as ``trace.sql`` selects them.

    Attributes:
        sensor: Who speaks for it, or None.
        row: The reading at the instant, or the one whose window covers it.
        evidence: Whether a raw copy of the row is kept as evidence.
        batches: Batches and tombstones of its hub that span the row, or the instant.
        refused: Rows refused one by one.
        conflicts: Other values for an instant already stored.
        dead: Batches of its hub refused whole since.
        findings: What detection concluded there, each with its alert.
        holes: What its hub's ledger misses.
    """

    sensor: Row | None
    row: Reading | None
    evidence: bool
    batches: Sequence[Row]
    refused: Sequence[Row]
    conflicts: Sequence[Row]
    dead: Sequence[Row]
    findings: Sequence[Row]
    holes: Sequence[Hole]

    @property
    def carriers(self) -> list[Row]:
        """The routine batches that may have carried the row: their span covers it."""
        return [batch for batch in self.batches if batch["lane"] == Kind.ROUTINE]

    @property
    def tombstones(self) -> list[Row]:
        """The tombstones whose span covers the instant."""
        return [batch for batch in self.batches if batch["lane"] == Kind.SHED]


def judge(facts: Facts, first: datetime) -> tuple[Verdict, str]:
    """Return what became of the reading and one sentence why.

    Args:
        facts: What is known.
        first: The instant asked for.
    """
    if facts.row is not None:
        if facts.row[0] >= first:
            return Verdict.STORED, "stored as a row of its own"
        return Verdict.IN_WINDOW, "stored within the row of the window that began before it"
    if facts.refused:
        return Verdict.REFUSED, f"its row was refused: {facts.refused[0]['reason']}"
    if facts.sensor is None:
        return Verdict.UNKNOWN_SENSOR, "no hub ever spoke for this sensor"
    if facts.tombstones:
        reason = facts.tombstones[0]["reason"]
        return Verdict.SHED, f"its hub gave up readings of that time on purpose: {reason}"
    return _absent(facts)


def _absent(facts: Facts) -> tuple[Verdict, str]:
    missing = sum(hole.high - hole.low for hole in facts.holes if hole.settled not in SETTLED)
    if missing:
        return Verdict.MISSING, f"{missing} batches of its hub are missing; it may be in one"
    if facts.dead:
        return Verdict.MISSING, "batches of its hub were refused whole; it may have been in one"
    return Verdict.NOT_SEEN, "all that its hub announced is here, and this reading is not in it"
