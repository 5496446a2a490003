"""What a storm was like, and whether that is good enough."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.storm_hubs import StormHub
from headgate.prove.account import NOTHING_LOST
from tests.support.wait import until
from wire.ids import HubId

RETURN_WITHIN_S: Final = 60.0
ALERT_WITHIN_MS: Final = 300.0
_TELL_EVERY_S: Final = 10.0


@dataclass(slots=True)
class Storm:
    """What happened, and when on the monotonic clock.

    Attributes:
        tell: Gets a line about what goes on.
        first_s: How long until all hubs had connected for the first time.
        died_s: When the node was killed; None before.
        served_s: When it served again.
        returned_s: When each hub returned.
        sent_ns: When the evidence of each contaminated sensor went out, Unix ns.
        came_ns: When the alert of each sensor came, Unix ns.
        cpu_s: What each process cost from the node's death until all had returned.
        cut_s: How long the revoked hub kept its connection; None if it was never cut off.
        wrong: What did not happen in time, in words.
    """

    tell: Callable[[str], None]
    first_s: float = 0.0
    died_s: float | None = None
    served_s: float = 0.0
    returned_s: dict[HubId, float] = field(default_factory=dict)
    sent_ns: dict[int, int] = field(default_factory=dict)
    came_ns: dict[int, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    cut_s: float | None = None
    wrong: list[str] = field(default_factory=list)

    def on_return(self, hub: StormHub) -> None:
        """Note a hub that came back; every tenth meets a contamination."""
        if self.died_s is None or hub.name in self.returned_s:
            return
        self.returned_s[hub.name] = time.monotonic()
        if hub.number % 10 == 0:
            self.sent_ns[hub.sensor_id] = hub.contaminate()

    def on_alert(self, sensor_id: int, came_ns: int) -> None:
        """Note an alert; the first of a sensor counts."""
        self.came_ns.setdefault(sensor_id, came_ns)

    @property
    def late_s(self) -> list[float]:
        """How long after the node served each hub was back, the first first."""
        return sorted(max(0.0, each - self.served_s) for each in self.returned_s.values())

    @property
    def alerts_ms(self) -> list[float]:
        """How long each alert took, the fastest first."""
        timed = self.sent_ns.keys() & self.came_ns.keys()
        return sorted((self.came_ns[each] - self.sent_ns[each]) / 1e6 for each in timed)

    async def expect(
        self,
        what: str,
        condition: Callable[[], bool],
        within_s: float,
        so_far: Callable[[], str] = str,
    ) -> None:
        """Wait for it, and tell how far it is; what is not there in time is wrong."""
        began_s = told_s = time.monotonic()

        def there() -> bool:
            nonlocal told_s
            if time.monotonic() - told_s >= _TELL_EVERY_S:
                told_s = time.monotonic()
                self.tell(f"{told_s - began_s:6.0f} s  until {what}: {so_far() or 'not yet'}")
            return condition()

        try:
            await until(there, within_s=within_s, poll_s=0.05)
        except AssertionError:
            self.wrong.append(f"not within {within_s:.0f} s: {what}")


def verdict(storm: Storm, hubs: Sequence[StormHub], stored: Mapping[int, int]) -> dict[str, Any]:
    """Return the last line of a storm.

    Args:
        storm: What happened.
        hubs: Those whose readings must all be stored.
        stored: How many readings of each sensor are.
    """
    late_s, alerts_ms = storm.late_s, storm.alerts_ms
    in_time = sum(each <= RETURN_WITHIN_S for each in late_s)
    late_alerts = sum(each > ALERT_WITHIN_MS for each in alerts_ms)
    sent = sum(hub.readings for hub in hubs)
    kept = sum(stored.get(hub.sensor_id, 0) for hub in hubs)
    count = len(hubs) + 1  # one was revoked
    wrong = [
        *storm.wrong,
        *([f"{count - in_time} hubs not back in time"] if in_time < count else []),
        *([f"{late_alerts} alerts late"] if late_alerts else []),
        *([] if alerts_ms else ["no alert"]),
        *([f"{sent - kept} readings not stored"] if sent != kept else []),
    ]
    return {
        "hubs": count,
        "first_connected_s": round(storm.first_s, 1),
        "node_away_s": round(storm.served_s - (storm.died_s or storm.served_s), 1),
        "returned_s_target": RETURN_WITHIN_S,
        "returned_in_time": in_time,
        "returned_s_p50": _at(late_s, 0.5),
        "returned_s_max": _at(late_s, 1.0),
        "alert_ms_target": ALERT_WITHIN_MS,
        "alerts": len(alerts_ms),
        "alerts_late": late_alerts,
        "alert_ms_p50": _at(alerts_ms, 0.5),
        "alert_ms_p99": _at(alerts_ms, 0.99),
        "alert_ms_max": _at(alerts_ms, 1.0),
        "cpu_s_of_the_return": {name: round(each, 1) for name, each in storm.cpu_s.items()},
        "revoked_cut_s": None if storm.cut_s is None else round(storm.cut_s, 1),
        "readings_sent": sent,
        "readings_stored": kept,
        "verdict": ", ".join(wrong) or NOTHING_LOST,
    }


def _at(rising: Sequence[float], share: float) -> float | None:
    """Return the value below which that share lies."""
    return round(rising[min(len(rising) - 1, int(share * len(rising)))], 1) if rising else None
