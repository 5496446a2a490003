"""Alerts against events: every contamination that must be noticed was, and nothing else.

An alert about the water is explained by a contamination only, one about a probe by a fault only.
"""

from dataclasses import dataclass
from typing import Final

from firmware_sim.core.events import Kind

ANY_METRIC: Final = "any"  # a refused value's alert does not say whose value it was
READINGS_PER_ALERT: Final = 3  # distinct instants outside a band that complete the rule


@dataclass(frozen=True, slots=True)
class Expected:
    """An event of the ledger.

    Attributes:
        sensor_id: Where.
        metric: Column name of the metric touched.
        start_ms: First instant touched.
        end_ms: First instant no longer touched.
        alerts: Whether a default band must notice it.
        readings: How many readings of it were sent.
        kind: Whose business it is.
    """

    sensor_id: int
    metric: str
    start_ms: int
    end_ms: int
    alerts: bool
    readings: int
    kind: Kind = Kind.CONTAMINATION


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, as stored.

    Attributes:
        alert_id: Its own, so that a doubled alert is two.
        sensor_id: Where.
        metric: Column name, or ``ANY_METRIC``.
        opened_ms: Observed time of the finding that opened it.
        last_ms: Observed time of its newest finding.
        kind: Whose business it is.
    """

    alert_id: int
    sensor_id: int
    metric: str
    opened_ms: int
    last_ms: int
    kind: Kind = Kind.CONTAMINATION


@dataclass(frozen=True, slots=True)
class AlertVerdict:
    """Counts of alerts.

    Attributes:
        alerts_expected: Contaminations whose readings complete the rule.
        alerts: Alerts about the water and about probes.
        alerts_missing: Expected, and covered by no alert.
        alerts_extra: Alerts about the water that no contamination explains, and about a probe that
            no fault of it does.
    """

    alerts_expected: int
    alerts: int
    alerts_missing: int
    alerts_extra: int


def compare_alerts(
    expected: list[Expected],
    alerts: list[Alert],
    window_ms: int = 0,
    readings_per_alert: int = READINGS_PER_ALERT,
) -> AlertVerdict:
    """Match by kind, sensor, metric and time.

    One open alert may cover several contaminations (it merges what happens before it is resolved);
    several alerts may share one contamination. A contamination too short to complete the rule is
    neither expected nor surprising.

    Args:
        expected: The ledger's events.
        alerts: Every alert.
        window_ms: How far a window's row may move an instant, milliseconds.
        readings_per_alert: Readings outside the band that complete the rule.
    """
    by_place: dict[tuple[Kind, int], list[Alert]] = {}
    for alert in alerts:
        by_place.setdefault((alert.kind, alert.sensor_id), []).append(alert)
    explained: set[Alert] = set()
    due = missing = 0
    for event in expected:
        covering = [
            alert
            for alert in by_place.get((event.kind, event.sensor_id), [])
            if alert.metric in (event.metric, ANY_METRIC)
            and alert.opened_ms < event.end_ms + window_ms
            and alert.last_ms >= event.start_ms - window_ms
        ]
        explained.update(covering)
        if event.alerts and event.readings >= readings_per_alert:
            due += 1
            missing += not covering
    return AlertVerdict(due, len(alerts), missing, len(set(alerts) - explained))
