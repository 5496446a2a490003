"""The shape of every answer, for OpenAPI: documentation, never run per answer."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from wire.metric import COLUMNS, SPECS, Metric

_TIME: Final = "2025-01-28T12:00:00Z"


def _shape(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"example": example})


class _Judged(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timestamp: str
    quality: list[str] = Field(description="what is known against it; empty: good")
    score: float | None = Field(None, ge=0, le=1, description="model output, if one judged")
    samples: int = Field(description="how many readings the row stands for")


def _metrics(besides: frozenset[Metric] = frozenset()) -> dict[str, Any]:
    return {
        COLUMNS[metric]: (float | None, Field(None, description=SPECS[metric].ucum))
        for metric in Metric
        if metric not in besides
    }


_READING: Final = {
    "timestamp": _TIME,
    "ph_level": 7.1,
    "turbidity": 0.018,
    "temperature": 15.2,
    "quality": [],
    "score": 0.02,
    "samples": 10,
}
Reading = create_model("Reading", __base__=_Judged, **_metrics())


class _Latest(_Judged):
    model_config = _shape(
        {"pH": 7.1, "temp": 15.2, "timestamp": _TIME, "turbidity": 0.018}
        | {"quality": [], "score": 0.02, "samples": 10}
    )

    pH: float | None
    temp: float | None


Latest = create_model(
    "Latest", __base__=_Latest, **_metrics(frozenset({Metric.PH, Metric.TEMPERATURE}))
)


class History(BaseModel):
    """One page of a sensor's readings, oldest first."""

    model_config = _shape(
        {"sensor_id": "123", "from": "2025-01-28T00:00:00Z", "to": "2025-01-29T00:00:00Z"}
        | {"readings": [_READING]}
    )

    sensor_id: str
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    readings: list[Reading]  # type: ignore[valid-type]


class SiteRef(BaseModel):
    """Which site."""

    model_config = ConfigDict(extra="forbid")

    site_id: str
    name: str


_ALERT: Final = {
    "alert_id": "17",
    "state": "open",
    "kind": "contamination",
    "cause": "ph_high",
    "metric": "ph_level",
    "severity": 3,
    "historical": False,
    "sensor_id": "123",
    "hub_id": "hub-1",
    "region": "east-coast",
    "site": {"site_id": "4", "name": "Intake 4"},
    "timestamp": _TIME,
    "last_observed_at": _TIME,
    "acknowledged_at": None,
    "resolved_at": None,
    "findings": 1,
    "explanation": {"value": 9.1, "low": 6.5, "high": 8.5},
    "hops": {
        "observed_at": _TIME,
        "received_at": "2025-01-28T12:00:00.041Z",
        "stored_at": "2025-01-28T12:00:00.090Z",
        "found_at": "2025-01-28T12:00:00.060Z",
        "opened_at": "2025-01-28T12:00:00.075Z",
    },
    "latency_ms": {
        "observed_to_received": 41.0,
        "observed_to_stored": 90.0,
        "observed_to_found": 60.0,
        "observed_to_opened": 75.0,
    },
}


class Alert(BaseModel):
    """A finding made someone's business."""

    model_config = _shape(_ALERT)

    alert_id: str
    state: Literal["open", "acknowledged", "resolved"]
    kind: Literal["contamination", "sensor_fault"]
    cause: str
    metric: str
    severity: int = Field(ge=1, le=5)
    historical: bool = Field(description="opened by late data: woke nobody")
    sensor_id: str
    hub_id: str | None
    region: str | None
    site: SiteRef | None
    timestamp: str = Field(description="when the reading that opened it was observed")
    last_observed_at: str
    acknowledged_at: str | None
    resolved_at: str | None
    findings: int
    explanation: dict[str, Any]
    hops: dict[str, str | None]
    latency_ms: dict[str, float]


class AlertList(BaseModel):
    """Alerts, newest first."""

    model_config = _shape({"alerts": [_ALERT]})

    alerts: list[Alert]


_GAP: Final = {
    "hub_id": "hub-1",
    "region": "east-coast",
    "epoch": "4611686018427387904",
    "from_sequence": 12,
    "to_sequence": 15,
    "batches": 3,
    "cause": "held",
    "reason": "the hub still holds it and will send it",
    "since": _TIME,
    "observed_after": "2025-01-28T11:59:50Z",
}


class Gap(BaseModel):
    """Batches ``[from_sequence, to_sequence)`` of one life of a hub that are not in the store."""

    model_config = _shape(_GAP)

    hub_id: str
    region: str
    epoch: str
    from_sequence: int
    to_sequence: int
    batches: int
    cause: Literal["pending", "held", "lost", "refused", "shed"]
    reason: str
    since: str = Field(description="when the last batch before was stored")
    observed_after: str | None = Field(description="the newest reading of that batch")


class GapList(BaseModel):
    """Gaps by hub, epoch and sequence."""

    model_config = _shape({"gaps": [_GAP]})

    gaps: list[Gap]


class Status(BaseModel):
    """The platform in three words."""

    model_config = _shape({"status": "healthy", "db": "connected", "workers": "running"})

    status: Literal["healthy", "degraded", "unhealthy"]
    db: Literal["connected", "disconnected"]
    workers: Literal["running", "partial", "stopped", "unknown"]


class Live(BaseModel):
    """This process answers."""

    model_config = _shape({"status": "live"})

    status: Literal["live", "ready"]


class Point(BaseModel):
    """A GeoJSON point: longitude, latitude."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["Point"]
    coordinates: list[float] = Field(min_length=2, max_length=2)


class WorstAlert(BaseModel):
    """The most severe open alert of a site."""

    model_config = ConfigDict(extra="forbid")

    alert_id: str
    severity: int
    kind: str
    cause: str
    metric: str
    timestamp: str


class SiteProperties(BaseModel):
    """What is known of a site."""

    model_config = ConfigDict(extra="forbid")

    site_id: str
    name: str
    location: str
    region: str
    kind: Literal["municipal", "industrial", "natural"]
    sensors: int
    worst_alert: WorstAlert | None


class Site(BaseModel):
    """A GeoJSON feature."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["Feature"]
    id: str
    geometry: Point | None
    properties: SiteProperties


class Sites(BaseModel):
    """A GeoJSON FeatureCollection."""

    model_config = _shape(
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "id": "4",
                    "geometry": {"type": "Point", "coordinates": [-73.97, 40.78]},
                    "properties": {
                        "site_id": "4",
                        "name": "Intake 4",
                        "location": "NYC",
                        "region": "east-coast",
                        "kind": "municipal",
                        "sensors": 20,
                        "worst_alert": {
                            "alert_id": "17",
                            "severity": 3,
                            "kind": "contamination",
                            "cause": "ph_high",
                            "metric": "ph_level",
                            "timestamp": _TIME,
                        },
                    },
                }
            ],
        }
    )

    type: Literal["FeatureCollection"]
    features: list[Site]
