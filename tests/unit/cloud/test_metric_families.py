"""/metrics: dashboards and alert rules name these families; none may be renamed or dropped."""

from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cloud.alert import gauges as alert
from cloud.core.outcome import Outcome
from cloud.ingest.meters import Meters
from cloud.read.metrics import families
from wire.ids import UnixMs

PROMISED = {
    "headgate_ingest_rows": "counter",
    "headgate_ingest_flush_rows": "histogram",
    "headgate_ingest_lag_seconds": "gauge",
    "headgate_ingest_oldest_age_seconds": "gauge",
    "headgate_ingest_refused_rows": "counter",
    "headgate_alert_latency_seconds": "histogram",
    "headgate_hub_gauge": "gauge",
    "headgate_dead_letters": "gauge",
}


def test_rows_flushes_lag_age_spools_refusals_and_alert_latency_are_there() -> None:
    registry = CollectorRegistry()
    Meters(registry)
    registry.register(alert.LATENCY)
    spool = ("hub_gauge", {"region": "north", "gauge": "spool_batches"}, 3.0)
    letters = ("dead_letters", {"reason": "batch samples are not positive"}, 1.0)
    text = (generate_latest(registry) + families([spool, letters])).decode()
    found = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert {name: found.get(name) for name in PROMISED} == PROMISED
    assert 'headgate_hub_gauge{gauge="spool_batches",region="north"} 3.0' in text


def test_refusals_are_told_by_reason() -> None:
    registry = CollectorRegistry()
    Meters(registry).stored(Outcome(refused_rows=Counter(future=2)), 0.1, 0.0, UnixMs(0))
    assert 'headgate_ingest_refused_rows_total{reason="future"} 2.0' in (
        generate_latest(registry).decode()
    )
