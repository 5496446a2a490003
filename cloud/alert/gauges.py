"""What the alert stage tells Prometheus."""

from typing import Final

from prometheus_client import Counter, Histogram

FINDINGS: Final = Counter(
    "headgate_alert_findings", "Findings settled, by what became of them.", ["fate"]
)
OPENED: Final = Counter("headgate_alerts_opened", "Alerts opened.", ["kind", "historical"])
LATENCY: Final = Histogram(
    "headgate_alert_latency_seconds",
    "From the instant observed to the alert's commit, live alerts only.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 15, 60, 600),
)
