"""What only the database knows, in Prometheus' text form."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

HELP: Final = {
    "database_up": "whether the database answered this scrape",
    "hubs": "hubs by their last word",
    "hub_gauge": "what hubs say of themselves in their last health, summed over a region",
    "hub_gauge_max": "the greatest of what hubs say of themselves, by region",
    "stage_silent_seconds": "since the store last heard of a worker, which moves if it speaks",
    "missing_batches": "sealed by hubs, not in the store, by region",
    "dead_letters": "messages no retry could help, by reason",
    "open_alerts": "alerts not resolved, by kind and severity",
    "unsettled_findings": "findings no alert has taken up yet",
    "oldest_unsettled_finding_seconds": "age of the oldest of them",
}

Figure = tuple[str, Mapping[str, str], float]
"""Name (one of ``HELP``), labels, value."""


class _Families(Collector):
    """A collector of figures. No ``Gauge``: those would leave files behind for other processes."""

    def __init__(self, figures: Iterable[Figure]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Return one family a name."""
        found: dict[str, GaugeMetricFamily] = {}
        for name, labels, value in self._figures:
            if name not in found:
                full = f"headgate_{name}"
                found[name] = GaugeMetricFamily(full, HELP[name], labels=tuple(labels))
            found[name].add_metric(tuple(labels.values()), value)
        return found.values()


def families(figures: Iterable[Figure]) -> bytes:
    """Return the figures as gauges ``headgate_NAME``."""
    registry = CollectorRegistry()
    registry.register(_Families(figures))
    return generate_latest(registry)
