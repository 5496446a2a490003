"""Gaps as people read them."""

from collections.abc import Iterator, Sequence
from typing import Any

from cloud.core.gaps import Cause, Hole, explain
from cloud.read.text import iso, iso_or_none

_SAYS = {
    Cause.PENDING: "sealed by the hub, not yet received",
    Cause.HELD: "the hub still holds it and will send it",
    Cause.LOST: "announced, but the hub no longer holds it and it never arrived",
    Cause.REFUSED: "arrived and could not be stored",
    Cause.SHED: "given up by the hub on purpose",
}


def as_gaps(holes: Sequence[Hole]) -> dict[str, Any]:
    """Return the holes, split where their cause changes."""
    return {"gaps": [gap for hole in holes for gap in _gaps(hole)]}


def _gaps(hole: Hole) -> Iterator[dict[str, Any]]:
    for low, high, cause in explain(hole):
        yield {
            "hub_id": hole.hub_id,
            "region": hole.region,
            "epoch": str(hole.epoch),
            "from_sequence": low,
            "to_sequence": high,
            "batches": high - low,
            "cause": cause,
            "reason": "; ".join(hole.reasons) or _SAYS[cause],
            "since": iso(hole.since),
            "observed_after": iso_or_none(hole.observed_after),
        }
