"""What detection tells Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

BATCHES: Final = Counter("headgate_detect_batches", "Deliveries by what became of them.", ["fate"])
READINGS: Final = Counter("headgate_detect_readings", "Readings evaluated.")
FOREIGN: Final = Counter("headgate_detect_foreign_readings", "Readings of other hubs' sensors.")
FINDINGS: Final = Counter("headgate_detect_findings", "Findings.", ["cause", "path"])
SWEPT: Final = Counter("headgate_detect_swept_batches", "Batches evaluated from the store.")
LAG: Final = Histogram(
    "headgate_detect_lag_seconds",
    "From a batch's arrival to the commit of what it showed.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
HUBS: Final = Gauge("headgate_detect_hubs", "Hubs held in memory.", multiprocess_mode="livesum")
