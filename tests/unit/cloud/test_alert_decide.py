"""Laws of alerts: what findings do to them, decided without a store."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.core.alert import Alert, Fate, Unsettled, decide
from cloud.core.detect_ledger import Found
from tests.support.builders import NOON, a_key
from tests.support.detect import judged, ph_rows, unsettled
from water.finding import Finding, finding_id
from wire.ids import UnixMs

[_BREACH] = judged(ph_rows([9.31, 9.31]))


def a_finding(
    at_s: int, *, ended: bool = False, historical: bool = False, severity: int = 3
) -> Unsettled:
    at_ms = UnixMs(NOON + at_s * 1_000)
    finding = replace(
        _BREACH, observed_at_ms=at_ms, ended=ended, historical=historical, severity=severity
    )
    return unsettled(Found(finding, a_key(), NOON))


def settle(*findings: Unsettled, before: tuple[Alert, ...] = ()) -> tuple[list[Alert], list[Fate]]:
    """Settle findings one transaction each, as the slowest worker would."""
    alerts = {alert.opened_by: alert for alert in before}
    fates: list[Fate] = []
    for finding in findings:
        decision = decide([finding], alerts.values(), NOON)
        alerts |= {alert.opened_by: alert for alert in decision.alerts}
        fates += decision.fates
    return list(alerts.values()), fates


def test_a_finding_opens_an_alert_with_its_sentence_evidence_and_hops() -> None:
    [alert], fates = settle(a_finding(1))
    assert fates == [Fate.OPENED]
    assert alert.explanation["sentence"].startswith("pH 9.31 is above 8.5 (US, 40 CFR 143.3")
    assert list(alert.explanation["hops_ms"]) == ["observed", "received", "found", "alerted"]
    assert alert.kind == "contamination"


def test_a_second_finding_merges_and_severity_only_rises() -> None:
    [alert], fates = settle(a_finding(1), a_finding(2, severity=5), a_finding(3, severity=2))
    assert fates == [Fate.OPENED, Fate.MERGED, Fate.MERGED]
    assert (alert.findings, alert.severity) == (3, 5)


def test_a_recovery_resolves_and_what_comes_later_opens_anew() -> None:
    alerts, fates = settle(a_finding(1), a_finding(5, ended=True), a_finding(6))
    assert fates == [Fate.OPENED, Fate.RESOLVED, Fate.OPENED]
    assert len(alerts) == 2


@pytest.mark.parametrize(("at_s", "fate"), [(4, Fate.JOINED), (5, Fate.JOINED), (6, Fate.OPENED)])
def test_a_finding_not_later_than_the_last_resolution_joins_it(at_s: int, fate: Fate) -> None:
    _, fates = settle(a_finding(1), a_finding(5, ended=True), a_finding(at_s))
    assert fates[-1] is fate


@pytest.mark.parametrize("ended", [True, False])
def test_an_alert_covers_every_finding_it_has_however_late_one_comes(ended: bool) -> None:
    beginnings = (a_finding(50), *([a_finding(55, ended=True)] if ended else []))
    [alert], fates = settle(*beginnings, a_finding(3, historical=True))
    assert fates[-1] in (Fate.JOINED, Fate.MERGED)
    assert (alert.opened_observed_at_ms, alert.last_observed_at_ms) == (NOON + 3_000, NOON + 50_000)


def test_an_end_of_nothing_and_an_end_before_the_last_breach_change_nothing() -> None:
    assert settle(a_finding(1, ended=True)) == ([], [Fate.NOTHING])
    [alert], fates = settle(a_finding(5), a_finding(4, ended=True))
    assert (fates[-1], alert.resolved_observed_at_ms) == (Fate.NOTHING, None)


def test_history_never_resolves_what_is_live() -> None:
    [alert], fates = settle(a_finding(1), a_finding(9, ended=True, historical=True))
    assert (fates[-1], alert.resolved_observed_at_ms) == (Fate.NOTHING, None)


def test_a_live_breach_after_a_historical_one_is_an_alert_of_its_own() -> None:
    alerts, fates = settle(a_finding(1, historical=True), a_finding(9))
    assert fates == [Fate.OPENED, Fate.OPENED]
    assert [(a.historical, a.resolved_observed_at_ms is None) for a in alerts] == [
        (True, False),
        (False, True),
    ]


STEPS = st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.booleans()), max_size=20)


@settings(deadline=None)
@given(STEPS)
def test_at_most_one_alert_is_open_and_grouping_into_transactions_changes_nothing(
    steps: list[tuple[int, bool, bool]],
) -> None:
    findings = [a_finding(at, ended=ended, historical=old) for at, ended, old in steps]
    one_by_one, fates = settle(*findings)
    together = decide(findings, (), NOON)
    assert list(together.fates) == fates
    assert sum(alert.resolved_observed_at_ms is None for alert in one_by_one) <= 1
    ends = sorted(str(alert.resolved_observed_at_ms) for alert in one_by_one)
    assert ends == sorted(str(alert.resolved_observed_at_ms) for alert in together.alerts)


def test_the_same_conclusion_has_the_same_id_and_its_end_another() -> None:
    def of(finding: Finding) -> object:
        return finding_id(finding.sensor_id, finding.cause, finding.metric, finding.observed_at_ms)

    assert of(_BREACH) == _BREACH.finding_id == of(replace(_BREACH, severity=1, historical=True))
    assert replace(_BREACH, ended=True).finding_id != _BREACH.finding_id
