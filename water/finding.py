"""A finding: what a detector concluded, with the evidence to conclude it again."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from wire.ids import SensorId, UnixMs

NAMESPACE: Final = UUID("6f0c1d5e-2b7a-5c43-9e1d-7d0a8f3b5c21")
ANY_METRIC: Final = "any"  # a refused value: the hub tells that, not whose it was


class Cause(StrEnum):
    """What is wrong. Append only: the names are in the store and in finding ids."""

    LOW = "out_of_band_low"
    HIGH = "out_of_band_high"
    STUCK = "stuck"
    SPIKE = "spike"
    IMPOSSIBLE = "impossible"


Kind = Literal["contamination", "sensor_fault"]
CONTAMINATIONS: Final = frozenset({Cause.LOW, Cause.HIGH})


def kind_of(cause: Cause) -> Kind:
    """Return whose business a cause is: public health's, or a technician's."""
    return "contamination" if cause in CONTAMINATIONS else "sensor_fault"


def finding_id(
    sensor_id: SensorId, cause: Cause, metric: str, observed_at_ms: UnixMs, *, ended: bool = False
) -> UUID:
    """Return the identity of a finding: the same conclusion has the same id, whoever draws it."""
    end = "|ended" if ended else ""
    return uuid5(NAMESPACE, f"{sensor_id}|{cause}|{metric}|{observed_at_ms}{end}")


@dataclass(frozen=True, slots=True)
class Finding:
    """A detector's conclusion about one series.

    Attributes:
        sensor_id: Whose series.
        cause: What is wrong with it.
        metric: Column name, or ``ANY_METRIC``.
        observed_at_ms: The instant that completed the rule.
        severity: 1 (note) to 5 (act now).
        ended: The cause is over; otherwise it has begun.
        historical: Concluded from late readings: wakes nobody.
        evidence: JSON; ``water.explain.recompute`` draws this finding from it.
    """

    sensor_id: SensorId
    cause: Cause
    metric: str
    observed_at_ms: UnixMs
    severity: int
    ended: bool
    historical: bool
    evidence: dict[str, Any]

    @property
    def finding_id(self) -> UUID:
        """See ``finding_id``."""
        return finding_id(
            self.sensor_id, self.cause, self.metric, self.observed_at_ms, ended=self.ended
        )

    @property
    def key(self) -> tuple[int, str, str]:
        """What at most one open alert exists for."""
        return self.sensor_id, self.cause, self.metric
