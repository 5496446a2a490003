"""What a hub says of itself: where each of its lives stands, how full it is, what it counted."""

import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from importlib.metadata import version
from itertools import islice
from typing import Final, NamedTuple

from edge_agent.ports import InTurn
from water.model import Backend, Model
from wire.clock import Clock
from wire.control import COUNTERS_MAX, Health
from wire.ids import Epoch, UnixMs
from wire.limits import KIB

VERSION: Final = version("headgate")


class ScoringFault(IntEnum):
    """The gauge ``scoring_fault``: what is wrong with the model."""

    NONE = 0
    STAND_IN = 1  # numpy computes the scores: TFLite is absent, or gave wrong ones
    UNSCORED = 2  # there is no model to be had: rows bear no score


def scoring_fault(model: Model | None) -> ScoringFault:
    """Return what is wrong with a hub's model."""
    if model is None:
        return ScoringFault.UNSCORED
    return ScoringFault.NONE if model.backend is Backend.TFLITE else ScoringFault.STAND_IN


class Inside(NamedTuple):
    """What only the spool's thread may look at.

    Attributes:
        epochs: ``(epoch, next_sequence)``, the present life first.
        clock_trusted: Whether the hub knows the time.
        gauges: Of spool and collector.
    """

    epochs: tuple[tuple[Epoch, int], ...]
    clock_trusted: bool
    gauges: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes a ``Health`` of what the parts say.

    Attributes:
        in_turn: The spool's thread.
        inside: Called there.
        outside: Called in the event loop; each gives gauges, the most telling first.
        clock: Time.
        started_ms: Steady time of the agent's start.
    """

    in_turn: InTurn
    inside: Callable[[], Inside]
    outside: Sequence[Callable[[], Mapping[str, int]]]
    clock: Clock
    started_ms: int = field(default=0)

    async def __call__(self) -> Health:
        """Return the present health; of more than 64 gauges the last are left out."""
        inside = await self.in_turn(self.inside)
        gauges = {"up_s": (self.clock.steady_ms() - self.started_ms) // 1_000}
        gauges["memory_bytes_max"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        gauges |= inside.gauges
        for part in self.outside:
            gauges |= part()
        return Health(
            online=True,
            version=VERSION,
            epochs=inside.epochs,
            clock_trusted=inside.clock_trusted,
            at_ms=UnixMs(max(0, self.clock.now_ms())),
            gauges=dict(islice(gauges.items(), COUNTERS_MAX)),
        )
