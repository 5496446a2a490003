"""The gateway's counters, for Prometheus."""

from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from gateway.ports import Action

_CONNECTIONS: Final = Gauge(
    "gateway_connections", "Open MQTT connections.", multiprocess_mode="livesum"
)
_REFUSED: Final = Counter("gateway_refused", "What clients tried and may not do.", ["action"])
_RECEIVED: Final = Counter("gateway_received", "Messages accepted from clients.")
_COPIES: Final = Counter("gateway_copies", "Copies handed to subscribers' mailboxes.")
_DROPPED: Final = Counter("gateway_dropped", "Messages a full mailbox dropped.", ["client"])
_LOG_EVERY: Final = 1_000
log = structlog.get_logger()


class PrometheusMeter:
    """See ``gateway.ports.Meter``."""

    def __init__(self) -> None:
        """Start counting."""
        self._dropped: dict[str, int] = {}

    def connections(self, count: int) -> None:
        """See ``gateway.ports.Meter``."""
        _CONNECTIONS.set(count)

    def refused(self, action: Action) -> None:
        """See ``gateway.ports.Meter``."""
        _REFUSED.labels(action).inc()

    def routed(self, copies: int) -> None:
        """See ``gateway.ports.Meter``."""
        _RECEIVED.inc()
        _COPIES.inc(copies)

    def dropped(self, client_id: str, messages: int) -> None:
        """See ``gateway.ports.Meter``. Logs the first and every thousandth."""
        before = self._dropped.get(client_id, 0)
        after = self._dropped[client_id] = before + messages
        _DROPPED.labels(client_id).inc(messages)
        if before == 0 or before // _LOG_EVERY != after // _LOG_EVERY:
            log.warning("mailbox_full", client_id=client_id, dropped=after)
