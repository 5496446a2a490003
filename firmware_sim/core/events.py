"""What goes wrong, and when: contaminations of the water and faults of the probes, labelled."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from typing import Final

import numpy as np

from firmware_sim.core.noise import bits
from wire.metric import SPECS, Metric

_ORDER_CHANNEL: Final = 5_000


class Kind(StrEnum):
    """Whose business an event is."""

    CONTAMINATION = "contamination"  # the water is bad: public health
    FAULT = "fault"  # the probe is bad: a technician


class Cause(StrEnum):
    """What happened. Append only: the names are in ledgers."""

    ACID = "acid_slug"
    ALKALINE = "alkaline_slug"
    TURBIDITY = "turbidity_burst"
    OVERDOSE = "disinfectant_overdose"
    CHLORINE_LOSS = "chlorine_loss"
    SALT = "conductivity_intrusion"
    OXYGEN_LOSS = "oxygen_depletion"
    NITRATE = "nitrate_wash"
    STUCK = "stuck"
    DRIFT = "drift"
    SPIKE = "spike"
    DROPOUT = "dropout"
    CALIBRATION = "calibration_step"
    IMPOSSIBLE = "impossible_value"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a cause does to one metric, in the metric's unit.

    Attributes:
        kind: Whose business it is.
        metric: Which metric is touched.
        level: Contamination: where the metric's median goes. Fault: the offset, or the value.
        alerts: Whether a default drinking-water band must notice it.
        lasts_ms_min: It lasts no shorter, whatever the calendar says.
    """

    kind: Kind
    metric: Metric
    level: float
    alerts: bool
    lasts_ms_min: int = 0


# Every level that must alert lies far outside the band named, so that no noise brings it back.
EFFECTS: Final[dict[Cause, Effect]] = {
    Cause.ACID: Effect(Kind.CONTAMINATION, Metric.PH, 5.4, True),  # 6.5..8.5
    Cause.ALKALINE: Effect(Kind.CONTAMINATION, Metric.PH, 9.9, True),
    Cause.TURBIDITY: Effect(Kind.CONTAMINATION, Metric.TURBIDITY, 8.0, True),  # <= 1
    Cause.OVERDOSE: Effect(Kind.CONTAMINATION, Metric.CHLORINE_DIOXIDE, 1.6, True),  # <= 0.8
    # No band has a lower edge for chlorine dioxide: only a model can notice its absence.
    Cause.CHLORINE_LOSS: Effect(Kind.CONTAMINATION, Metric.CHLORINE_DIOXIDE, 0.04, False),
    Cause.SALT: Effect(Kind.CONTAMINATION, Metric.CONDUCTIVITY, 3_600.0, True),  # <= 2500
    Cause.OXYGEN_LOSS: Effect(Kind.CONTAMINATION, Metric.DISSOLVED_OXYGEN, 2.0, True),  # >= 4
    Cause.NITRATE: Effect(Kind.CONTAMINATION, Metric.NITRATE, 24.0, True),  # <= 10 as N
    # A probe is known to be stuck only after 60 equal readings, of a second each, and more of one
    # that does not always tremble.
    Cause.STUCK: Effect(Kind.FAULT, Metric.PH, 0.0, False, lasts_ms_min=180_000),
    # Faults stay inside every band but for single readings: who raises contamination on them has
    # mistaken a probe for the water.
    Cause.DRIFT: Effect(Kind.FAULT, Metric.PH, -0.3, False),
    Cause.SPIKE: Effect(Kind.FAULT, Metric.PH, 3.0, False),
    Cause.DROPOUT: Effect(Kind.FAULT, Metric.PH, 0.0, False),
    Cause.CALIBRATION: Effect(Kind.FAULT, Metric.CONDUCTIVITY, -12.0, False),
    Cause.IMPOSSIBLE: Effect(Kind.FAULT, Metric.DISSOLVED_OXYGEN, 109.8, False),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that went wrong at one sensor.

    Attributes:
        number: Its place in the run: the ``label`` of the readings it touched.
        sensor_id: Where.
        cause: What.
        start_ms: First instant touched, observed time.
        end_ms: First instant no longer touched.
    """

    number: int
    sensor_id: int
    cause: Cause
    start_ms: int
    end_ms: int

    @property
    def effect(self) -> Effect:
        """What it does."""
        return EFFECTS[self.cause]

    def as_json(self) -> dict[str, object]:
        """Return the label as ledgers and progress lines spell it."""
        return {
            "number": self.number,
            "sensor_id": self.sensor_id,
            "kind": str(self.effect.kind),
            "cause": str(self.cause),
            "metric": SPECS[self.effect.metric].column,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "alerts": self.effect.alerts,
        }


@dataclass(frozen=True, slots=True)
class Calendar:
    """When events of one kind happen.

    Attributes:
        start_ms: Of the first event.
        end_ms: By which every event must have ended.
        every_ms: Between the starts of two events, each at another sensor.
        lasts_ms: How long each lasts, but for causes that must last longer to be found.
    """

    start_ms: int
    end_ms: int
    every_ms: int
    lasts_ms: int

    def __post_init__(self) -> None:
        """Refuse a calendar without time in it.

        Raises:
            ValueError: Events without duration or distance.
        """
        if self.every_ms <= 0 or self.lasts_ms <= 0:
            raise ValueError("an event takes time, and so does waiting for the next")


def contaminations(metrics: set[Metric]) -> list[Cause]:
    """Return the contaminations the default bands must notice in water measured by ``metrics``."""
    return [c for c, e in EFFECTS.items() if e.alerts and e.metric in metrics]


def faults(metrics: set[Metric]) -> list[Cause]:
    """Return the probe faults possible where ``metrics`` are measured."""
    return [c for c, e in EFFECTS.items() if e.kind is Kind.FAULT and e.metric in metrics]


def plan(
    calendar: Calendar,
    causes: list[Cause],
    sensor_ids: list[int],
    seed: int,
    numbers: Iterator[int],
) -> Iterator[Event]:
    """Yield events in order of time, taking sensors in turn and, round by round, causes.

    No sensor suffers two at once: an event whose sensor is still busy is left out, and so is one
    that would not end in time. The same cause
    comes back to a sensor only after all others have.

    Args:
        calendar: When.
        causes: What, at least one if any sensor is given.
        sensor_ids: Where; none = nothing ever happens.
        seed: Of the run: the order of the sensors.
        numbers: Where each event takes its number from.
    """
    order = np.argsort(bits(seed, np.array(sensor_ids, np.int64), _ORDER_CHANNEL)).tolist()
    busy_until = dict.fromkeys(sensor_ids, calendar.start_ms)
    starts = range(calendar.start_ms, calendar.end_ms - calendar.lasts_ms + 1, calendar.every_ms)
    for turn, start_ms in enumerate(starts if sensor_ids else ()):
        lap, place = divmod(turn, len(sensor_ids))
        sensor_id = sensor_ids[order[place]]
        cause = causes[(place + lap) % len(causes)]
        end_ms = start_ms + max(calendar.lasts_ms, EFFECTS[cause].lasts_ms_min)
        if busy_until[sensor_id] > start_ms or end_ms > calendar.end_ms:
            continue
        # Half again as long to recover, so that the next event is another event.
        busy_until[sensor_id] = end_ms + calendar.lasts_ms // 2
        yield Event(next(numbers), sensor_id, cause, start_ms, end_ms)


class Agenda:
    """Planned events, met one after another as time passes: a run may be longer than any list."""

    def __init__(self, *plans: Iterator[Event]) -> None:
        """Take plans, each in order of time."""
        self._coming = merge(*plans, key=lambda event: event.start_ms)
        self._next = next(self._coming, None)
        self.at_work: list[Event] = []

    def advance(self, oldest_ms: int, newest_ms: int) -> list[Event]:
        """Drop what ended before the oldest instant; return what begins by the newest.

        Args:
            oldest_ms: Never earlier than at the last call.
            newest_ms: Never earlier than ``oldest_ms``.
        """
        self.at_work = [event for event in self.at_work if event.end_ms > oldest_ms]
        begun: list[Event] = []
        while self._next is not None and self._next.start_ms <= newest_ms:
            begun.append(self._next)
            self._next = next(self._coming, None)
        self.at_work += begun
        return begun
