"""Alert: settle findings in the order they were found; alerts and settling commit together."""

from collections.abc import Sequence
from typing import Final

import structlog

from cloud.alert import gauges
from cloud.alert.ports import AlertStore
from cloud.core.alert import FINDINGS_PER_TRANSACTION_MAX, Decision, Fate, Unsettled, decide
from wire.clock import Clock

POLL_MS: Final = 1_000  # the lane only wakes; without it, nothing waits longer than this

_log = structlog.get_logger(__name__)


class Alerts:
    """The one path from findings to alerts. Every step may be repeated after a failure."""

    def __init__(self, store: AlertStore, clock: Clock) -> None:
        """Take the neighbours; own none of them."""
        self._store = store
        self._clock = clock

    async def settle_all(self) -> None:
        """Settle until nothing is left."""
        while await self.settle() == FINDINGS_PER_TRANSACTION_MAX:
            pass

    async def settle(self) -> int:
        """Settle the oldest findings; return how many.

        Raises:
            InfrastructureError: Nothing was settled, or everything was.
        """
        async with self._store.transaction() as transaction:
            findings = await transaction.unsettled(FINDINGS_PER_TRANSACTION_MAX)
            if not findings:
                return 0
            alerts = await transaction.alerts({finding.key for finding in findings})
            decision = decide(findings, alerts, self._clock.now_ms())
            await transaction.write(decision, findings)
        self._tell(findings, decision)
        return len(findings)

    def _tell(self, findings: Sequence[Unsettled], decision: Decision) -> None:
        now_ms = self._clock.now_ms()
        for finding, fate in zip(findings, decision.fates, strict=True):
            gauges.FINDINGS.labels(str(fate)).inc()
            _log.info(
                "settled",
                finding_id=str(finding.finding_id),
                fate=str(fate),
                sensor_id=finding.key.sensor_id,
                cause=finding.key.cause,
                metric=finding.key.metric,
            )
            if fate is Fate.OPENED and not finding.historical:
                gauges.LATENCY.observe(max(0, now_ms - finding.observed_at_ms) / 1_000)
        for alert in decision.alerts:
            if alert.alert_id is None:
                gauges.OPENED.labels(alert.kind, str(alert.historical).lower()).inc()
