"""Alerts against events: every contamination that must be noticed was, and nothing else."""

from dataclasses import dataclass
from typing import Final

READINGS_PER_ALERT: Final = 3  # distinct instants outside a band that complete the rule


@dataclass(frozen=True, slots=True)
class Expected:
    """A contamination of the ledger.

    Attributes:
        sensor_id: Where.
        metric: Column name of the metric driven outside its band.
        start_ms: First instant touched.
        end_ms: First instant no longer touched.
        alerts: Whether a default band must notice it.
        readings: How many readings of it were sent.
    """

    sensor_id: int
    metric: str
    start_ms: int
    end_ms: int
    alerts: bool
    readings: int


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert about the water, as stored.

    Attributes:
        alert_id: Its own, so that a doubled alert is two.
        sensor_id: Where.
        metric: Column name.
        opened_ms: Observed time of the finding that opened it.
        last_ms: Observed time of its newest finding.
    """

    alert_id: int
    sensor_id: int
    metric: str
    opened_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class AlertVerdict:
    """Counts of alerts.

    Attributes:
        alerts_expected: Contaminations whose readings complete the rule.
        alerts: Alerts about the water.
        alerts_missing: Expected, and covered by no alert.
        alerts_extra: Alerts that no contamination explains.
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
    """Match by sensor, metric and time.

    One open alert may cover several contaminations (it merges what happens before it is resolved);
    several alerts may share one contamination. A contamination too short to complete the rule is
    neither expected nor surprising.

    Args:
        expected: The ledger's contaminations.
        alerts: Alerts of kind contamination.
        window_ms: How far a window's row may move an instant, milliseconds.
        readings_per_alert: Readings outside the band that complete the rule.
    """
    by_place: dict[tuple[int, str], list[Alert]] = {}
    for alert in alerts:
        by_place.setdefault((alert.sensor_id, alert.metric), []).append(alert)
    explained: set[Alert] = set()
    due = missing = 0
    for event in expected:
        covering = [
            alert
            for alert in by_place.get((event.sensor_id, event.metric), [])
            if alert.opened_ms < event.end_ms + window_ms
            and alert.last_ms >= event.start_ms - window_ms
        ]
        explained.update(covering)
        if event.alerts and event.readings >= readings_per_alert:
            due += 1
            missing += not covering
    return AlertVerdict(due, len(alerts), missing, len(set(alerts) - explained))
