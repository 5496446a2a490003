"""What is broken, and when: a pure function of seconds, seed and the size of the river."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LEAD_S: Final = 2.0
"""The river runs undisturbed for so long first."""
TAIL_S: Final = 1.0
"""Nothing is broken in the last of the time."""
SPACING_S: Final = 2.5
"""Between two faults, so that each one's healing can be told; all kinds come first, if need be."""
SPACING_S_MIN: Final = 1.0
TOGETHER_EVERY: Final = 4
"""One fault in so many is struck while another is fresh."""
TOGETHER_S: Final = 0.5
LINK_FAULT_S: Final = (0.5, 2.5)

assert SPACING_S_MIN <= SPACING_S
assert TOGETHER_S < SPACING_S_MIN


class Target(StrEnum):
    """What is broken. The names are those of the verdict."""

    AGENT = "agent"
    BROKER = "broker"
    INGEST = "ingest"
    DETECT = "detect"
    ALERT = "alert"
    POSTGRES = "postgres"
    LINK = "link"
    NODE = "node"
    HUB = "hub"


class Fault(StrEnum):
    """How it is broken."""

    KILL = "kill -9"
    CUT = "cut"  # both ends hear of it, and nobody answers for a while
    BLACK_HOLE = "black hole"  # nothing passes, nobody hears of it
    DELAY = "delay"
    HALF_OPEN = "half open"  # one side is gone, the other never hears of it
    FREEZE = "freeze"  # stands still, with all its connections
    ROLL = "roll"  # told to end and started again, one after the other
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault.

    Attributes:
        at_s: Seconds after the sensors began.
        target: What.
        fault: How.
        victim: Which of several hubs, links or ingest workers; 0-based. Of nodes, 0 is the one
            that leads the ``ingest`` queue at that moment.
        lasts_s: How long a link stays bad or a process frozen; 0 for a kill.
    """

    at_s: float
    target: Target
    fault: Fault
    victim: int = 0
    lasts_s: float = 0.0

    @property
    def kind(self) -> str:
        """What is called one kind of fault."""
        return f"{self.target} {self.fault}"


TARGETS: Final = tuple(target for target in Target if target not in (Target.NODE, Target.HUB))
"""What there is on one machine; the rest is a cluster's."""
KINDS: Final = (
    *((target, Fault.KILL) for target in TARGETS if target is not Target.LINK),
    (Target.LINK, Fault.CUT),
    (Target.LINK, Fault.BLACK_HOLE),
    (Target.LINK, Fault.DELAY),
)


def plan(seconds: float, seed: int, *, hubs: int, ingest_workers: int) -> tuple[Strike, ...]:
    """Return the faults of a run, in order of time. The same arguments give the same plan.

    Kinds come in rounds of a seeded order, so that each is there before any is there twice; where
    there is time for fewer than a round, some are left out.

    Args:
        seconds: How long the sensors measure, > 0.
        seed: Of the run.
        hubs: How many, >= 1; each has a link of its own.
        ingest_workers: How many, >= 1.
    """
    dice = random.Random(seed)
    span_s = max(0.0, seconds - LEAD_S - TAIL_S)
    spacing_s = min(SPACING_S, max(SPACING_S_MIN, span_s / len(KINDS)))
    strikes: list[Strike] = []
    kinds: list[tuple[Target, Fault]] = []
    for turn in range(int(span_s / spacing_s)):
        kinds = kinds or dice.sample(KINDS, len(KINDS))
        target, fault = kinds.pop()
        at_s = LEAD_S + spacing_s * turn
        strikes.append(_strike(dice, at_s, target, fault, hubs, ingest_workers))
        if turn % TOGETHER_EVERY == TOGETHER_EVERY - 1:
            other, how = dice.choice([kind for kind in KINDS if kind[0] is not target])
            soon_s = at_s + dice.uniform(0, TOGETHER_S)
            strikes.append(_strike(dice, soon_s, other, how, hubs, ingest_workers))
    return tuple(sorted(strikes, key=lambda strike: strike.at_s))


def _strike(
    dice: random.Random, at_s: float, target: Target, fault: Fault, hubs: int, ingest_workers: int
) -> Strike:
    several = {Target.AGENT: hubs, Target.LINK: hubs, Target.INGEST: ingest_workers}
    victim = dice.randrange(several.get(target, 1))
    lasts_s = dice.uniform(*LINK_FAULT_S) if target is Target.LINK else 0.0
    return Strike(round(at_s, 3), target, fault, victim, round(lasts_s, 3))
