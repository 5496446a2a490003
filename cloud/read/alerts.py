"""Alerts as people read them: what, where, how bad, why, and how long each hop took."""

from datetime import datetime
from typing import Any, Final

from cloud.core.views import Row
from cloud.read.text import iso_or_none

_HOPS: Final = ("observed_at", "received_at", "stored_at", "found_at", "opened_at")


def as_alert(row: Row) -> dict[str, Any]:
    """Return an alert as JSON objects; ids as text, since they are 64 bits wide."""
    return {
        "alert_id": str(row["alert_id"]),
        "state": _state(row),
        "kind": row["kind"],
        "cause": row["cause"],
        "metric": row["metric"],
        "severity": row["severity"],
        "historical": row["historical"],
        "sensor_id": str(row["sensor_id"]),
        "hub_id": row["hub_id"],
        "region": row["region"],
        "site": None
        if row["site_id"] is None
        else {"site_id": str(row["site_id"]), "name": row["site"]},
        "timestamp": iso_or_none(row["observed_at"]),
        "last_observed_at": iso_or_none(row["last_observed_at"]),
        "acknowledged_at": iso_or_none(row["acknowledged_at"]),
        "resolved_at": iso_or_none(row["resolved_at"]),
        "findings": row["findings"],
        "explanation": row["explanation"],
        "hops": {hop: iso_or_none(row[hop]) for hop in _HOPS},
        "latency_ms": _latency(row),
    }


def _state(row: Row) -> str:
    if row["resolved"]:
        return "resolved"
    return "open" if row["acknowledged_at"] is None else "acknowledged"


def _latency(row: Row) -> dict[str, float]:
    """Return what each known hop added after the observation, and the whole."""
    observed_at: datetime = row["observed_at"]
    return {
        f"observed_to_{hop.removesuffix('_at')}": round(
            (row[hop] - observed_at).total_seconds() * 1_000, 3
        )
        for hop in _HOPS[1:]
        if row[hop] is not None
    }
