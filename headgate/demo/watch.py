"""What a spectator of the river has seen so far. No I/O: lines and alerts in, numbers out."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any, Final

ALERTS_SHOWN: Final = 12
MISSING_AFTER_S: Final = 10.0
HOPS: Final = ("hub", "detect", "alert", "client")
_AFFECTED_MAX: Final = 20_000


@dataclass(slots=True)
class Watch:
    """The spectator's notes.

    Attributes:
        sent: Distinct readings the sensors made.
        committed: Of those, on a hub's disk and told so to their sensor.
        stored: Readings in PostgreSQL.
        alerts: The latest alerts, newest first, each with ``came_ms``, its ``spent_ms`` by
            hop as far as known and, once its publishing is known, its ``latency_ms``.
        latencies_ms: From publishing the reading that completed the rule to the alert in hand.
        hops_ms: The same, hop by hop: ``hub`` until the cloud received it, ``detect`` until it was
            found, ``alert`` until it was stored, ``client`` until it was in hand.
        missing: Readings sent ``MISSING_AFTER_S`` before the last look and not stored, >= 0.
    """

    sent: int = 0
    committed: int = 0
    stored: int = 0
    alerts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=ALERTS_SHOWN))
    alerts_seen: set[str] = field(default_factory=set)
    latencies_ms: list[float] = field(default_factory=list)
    hops_ms: dict[str, list[float]] = field(default_factory=lambda: {hop: [] for hop in HOPS})
    _due: int = 0
    _sent_by: deque[tuple[float, int]] = field(default_factory=deque)
    _published_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    _waiting: dict[tuple[int, int], list[dict[str, Any]]] = field(default_factory=dict)

    def fleet_said(self, line: dict[str, Any]) -> None:
        """Note a progress line of the fleet."""
        if "affected" in line:
            key = (int(line["affected"]["sensor_id"]), int(line["observed_at_ms"]))
            if len(self._published_ms) < _AFFECTED_MAX:
                self._published_ms[key] = int(line["published_at_ms"])
            for alert in self._waiting.pop(key, ()):
                self._time(alert, int(line["published_at_ms"]))
            return
        progress = line.get("done") or line["progress"]
        self.sent = int(progress.get("sent", self.sent))
        self.committed = int(progress.get("committed", self.committed))

    def alert_came(self, alert: dict[str, Any], at_ms: float) -> None:
        """Note an alert the moment it reached us; the same alert again changes nothing."""
        if alert["alert_id"] in self.alerts_seen or alert["state"] == "resolved":
            return
        self.alerts_seen.add(alert["alert_id"])
        self.alerts.appendleft(alert)
        key = (int(alert["sensor_id"]), _ms(alert["timestamp"]))
        alert["came_ms"] = at_ms
        alert["spent_ms"] = _spent_ms(alert, None)
        if key in self._published_ms:
            self._time(alert, self._published_ms[key])
        else:
            self._waiting.setdefault(key, []).append(alert)  # the fleet's line is in the pipe

    def look(self, at_s: float) -> None:
        """Note how much has been sent by now, on a steady clock; a few times a second."""
        self._sent_by.append((at_s, self.sent))
        while self._sent_by[0][0] <= at_s - MISSING_AFTER_S:
            _, self._due = self._sent_by.popleft()

    @property
    def missing(self) -> int:
        """See the class."""
        return max(0, self._due - self.stored)

    def latency(self) -> dict[str, float | int | None]:
        """Return how many alerts were timed, and how long they took in milliseconds."""
        return summary(self.latencies_ms)

    def _time(self, alert: dict[str, Any], published_ms: int) -> None:
        alert["spent_ms"] = _spent_ms(alert, published_ms)
        alert["latency_ms"] = alert["came_ms"] - published_ms
        self.latencies_ms.append(alert["latency_ms"])
        for hop, spent_ms in alert["spent_ms"].items():
            self.hops_ms[hop].append(spent_ms)


def _spent_ms(alert: dict[str, Any], published_ms: int | None) -> dict[str, float]:
    """Return what each hop took, as far as both its ends are known."""
    was_at = alert["explanation"]["hops_ms"]
    moments_ms = (published_ms, was_at["received"], was_at["found"], was_at["alerted"])
    spans_ms = zip(HOPS, pairwise((*moments_ms, alert["came_ms"])), strict=True)
    return {
        hop: at_ms - since_ms
        for hop, (since_ms, at_ms) in spans_ms
        if since_ms is not None and at_ms is not None
    }


def summary(latencies_ms: Iterable[float]) -> dict[str, float | int | None]:
    """Return ``n``, ``p50`` and ``p99`` (nearest rank) of latencies; None where there are none."""
    ranked = sorted(latencies_ms)
    if not ranked:
        return {"n": 0, "p50": None, "p99": None}
    p99 = ranked[max(0, -(-99 * len(ranked) // 100) - 1)]
    return {"n": len(ranked), "p50": round(median(ranked), 1), "p99": round(p99, 1)}


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)
