"""Sites as GeoJSON (RFC 7946)."""

from collections.abc import Sequence
from typing import Any

from cloud.core.views import Row
from cloud.read.text import iso


def as_features(rows: Sequence[Row]) -> dict[str, Any]:
    """Return a FeatureCollection; a site without a place has a null geometry."""
    return {"type": "FeatureCollection", "features": [_feature(row) for row in rows]}


def _feature(row: Row) -> dict[str, Any]:
    placed = row["lon"] is not None and row["lat"] is not None
    return {
        "type": "Feature",
        "id": str(row["site_id"]),
        "geometry": {"type": "Point", "coordinates": [row["lon"], row["lat"]]} if placed else None,
        "properties": {
            "site_id": str(row["site_id"]),
            "name": row["name"],
            "location": row["location"],
            "region": row["region"],
            "kind": row["kind"],
            "sensors": row["sensors"],
            "worst_alert": _worst(row),
        },
    }


def _worst(row: Row) -> dict[str, Any] | None:
    if row["alert_id"] is None:
        return None
    return {
        "alert_id": str(row["alert_id"]),
        "severity": row["severity_level"],
        "kind": row["alert_kind"],
        "cause": row["contaminant_type"],
        "metric": row["metric"],
        "timestamp": iso(row["alert_timestamp"]),
    }
