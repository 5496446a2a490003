"""Alerts: findings open, join, resolve them. At most one is open per (sensor, cause, metric).

Decisions only: the store reads what is there before and writes what is there after, in one
transaction with the findings' settling.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID

from water.explain import sentence
from water.finding import Cause, Kind, kind_of
from wire.ids import SensorId, UnixMs


class AlertKey(NamedTuple):
    """What at most one open alert exists for."""

    sensor_id: SensorId
    cause: str
    metric: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A finding out of the outbox.

    Attributes:
        finding_id: Its identity.
        key: Whose alert it concerns.
        severity: 1..5.
        observed_at_ms: Event time.
        ended: A recovery.
        historical: Wakes nobody.
        evidence: See ``water.finding``.
        received_at_ms: When its batch came; None if nobody knows.
        found_at_ms: The store's clock.
    """

    finding_id: UUID
    key: AlertKey
    severity: int
    observed_at_ms: UnixMs
    ended: bool
    historical: bool
    evidence: Mapping[str, Any]
    received_at_ms: UnixMs | None
    found_at_ms: UnixMs


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is, or is to be, stored.

    Attributes:
        alert_id: None until it is stored.
        key: What it is about.
        opened_by: The finding that opened it.
        opened_observed_at_ms: Event time of the earliest finding it has, late ones included.
        severity: Greatest of its findings.
        historical: Opened by late readings and joined by no live ones.
        findings: How many it has had.
        last_observed_at_ms: Event time of the newest.
        resolved_observed_at_ms: Event time of its end; None = open.
        explanation: JSON for people and machines.
    """

    alert_id: int | None
    key: AlertKey
    opened_by: UUID
    opened_observed_at_ms: UnixMs
    severity: int
    historical: bool
    findings: int
    last_observed_at_ms: UnixMs
    resolved_observed_at_ms: UnixMs | None
    explanation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """Whose business it is."""
        return kind_of(Cause(self.key.cause))


class Fate(StrEnum):
    """What became of a finding."""

    OPENED = "opened"
    MERGED = "merged"
    JOINED = "joined"  # an alert already resolved, at an event time it covers
    RESOLVED = "resolved"
    NOTHING = "nothing"  # an end of what nobody has open


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write.

    Attributes:
        alerts: Every alert to insert (no id) or to overwrite.
        fates: One per finding, in order.
    """

    alerts: Sequence[Alert]
    fates: Sequence[Fate]


class _Case:
    """All we know about one key while findings are settled: open alert, last resolved one."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self.open: Alert | None = None
        self.resolved: Alert | None = None
        self.changed: dict[UUID, Alert] = {}
        for alert in alerts:
            self._place(alert)

    def put(self, alert: Alert) -> None:
        self.changed[alert.opened_by] = alert
        self._place(alert)

    def _place(self, alert: Alert) -> None:
        if alert.resolved_observed_at_ms is None:
            self.open = alert
            return
        if self.open is not None and self.open.opened_by == alert.opened_by:
            self.open = None
        last = self.resolved
        if last is None or _end(last) <= _end(alert):
            self.resolved = alert


def decide(findings: Sequence[Unsettled], alerts: Iterable[Alert], now_ms: UnixMs) -> Decision:
    """Return what these findings do to these alerts.

    Args:
        findings: In the order they were found.
        alerts: For every key among the findings: the open alert and the one resolved last.
        now_ms: Dates the last hop.
    """
    by_key: dict[AlertKey, list[Alert]] = {finding.key: [] for finding in findings}
    for alert in alerts:
        by_key[alert.key].append(alert)
    cases = {key: _Case(those) for key, those in by_key.items()}
    fates = [_settle(cases[finding.key], finding, now_ms) for finding in findings]
    return Decision([a for case in cases.values() for a in case.changed.values()], fates)


def _settle(case: _Case, finding: Unsettled, now_ms: UnixMs) -> Fate:
    if finding.ended:
        return _end_of(case, finding)
    if case.open is not None and not _another_episode(case.open, finding):
        case.put(_merged(case.open, finding))
        return Fate.MERGED
    if case.open is not None:
        over_ms = case.open.last_observed_at_ms
        case.put(replace(case.open, resolved_observed_at_ms=over_ms))
    if case.resolved is not None and finding.observed_at_ms <= _end(case.resolved):
        case.put(_merged(case.resolved, finding))
        return Fate.JOINED
    case.put(_opened(finding, now_ms))
    return Fate.OPENED


def _another_episode(alert: Alert, finding: Unsettled) -> bool:
    """Return whether a live beginning follows a historical alert: in between all was healthy."""
    later = finding.observed_at_ms > alert.last_observed_at_ms
    return alert.historical and not finding.historical and later


def _end_of(case: _Case, finding: Unsettled) -> Fate:
    """A recovery ends what began no later; history never ends what is live."""
    alert = case.open
    if alert is None or finding.observed_at_ms < alert.last_observed_at_ms:
        return Fate.NOTHING
    if finding.historical and not alert.historical:
        return Fate.NOTHING
    case.put(
        replace(
            alert,
            resolved_observed_at_ms=finding.observed_at_ms,
            findings=alert.findings + 1,
        )
    )
    return Fate.RESOLVED


def _merged(alert: Alert, finding: Unsettled) -> Alert:
    return replace(
        alert,
        severity=max(alert.severity, finding.severity),
        historical=alert.historical and finding.historical,
        findings=alert.findings + 1,
        opened_observed_at_ms=min(alert.opened_observed_at_ms, finding.observed_at_ms),
        last_observed_at_ms=max(alert.last_observed_at_ms, finding.observed_at_ms),
    )


def _opened(finding: Unsettled, now_ms: UnixMs) -> Alert:
    return Alert(
        None,
        finding.key,
        finding.finding_id,
        finding.observed_at_ms,
        finding.severity,
        finding.historical,
        1,
        finding.observed_at_ms,
        None,
        explanation(finding, now_ms),
    )


def explanation(finding: Unsettled, now_ms: UnixMs) -> dict[str, Any]:
    """Return why there is an alert: for people, for machines, and hop by hop."""
    return {
        "sentence": sentence(dict(finding.evidence)),
        "evidence": finding.evidence,
        "hops_ms": {
            "observed": finding.observed_at_ms,
            "received": finding.received_at_ms,
            "found": finding.found_at_ms,
            "alerted": now_ms,
        },
    }


def _end(alert: Alert) -> int:
    assert alert.resolved_observed_at_ms is not None
    return alert.resolved_observed_at_ms


FINDINGS_PER_TRANSACTION_MAX: Final = 256
