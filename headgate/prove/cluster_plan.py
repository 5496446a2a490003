"""What is broken at a cluster, and when: a pure function of seconds, seed and size.

First faults come apart, each once the one before is over: what each costs is its own. One of them
takes long, a node's or ingest's, and each seed has the next. Then they come together: small ones
closely, while a node is down and ingest stands still. Nodes are struck one after the other, the
next once the cluster is whole again: who loses two of three has no broker at all, which the
broker's own kill on one machine proves.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headgate.prove.plan import LEAD_S, LINK_FAULT_S, TAIL_S, Fault, Strike, Target

APART: Final = 0.6
"""So much of the time faults come apart."""
ALWAYS: Final = 2
"""So many of the faults that come apart are struck even if time is over."""
APART_S: Final = (1.0, 2.0)
SPACING_S: Final = 4.0
"""Between two small faults that come together."""
FREEZE_S: Final = (4.0, 25.0)
"""A node stands still for so long: less than the others wait before they give it up.

One given up and awake again begins anew; RabbitMQ 3.10 takes from 20 s to minutes over that, and
sometimes never ends (see docs/adr/0010).
"""
INGEST_FROZEN_S: Final = 30.0
"""All of ingest stands still for so long, or for a third of the run."""
NODES: Final = 3

NODE_KILL_S: Final = 15.0
"""A killed node may come back in so long."""

LEADER: Final = "leader"
LONG_KINDS: Final[tuple[tuple[Target, Fault, str], ...]] = (
    (Target.NODE, Fault.KILL, LEADER),
    (Target.NODE, Fault.FREEZE, LEADER),
    (Target.NODE, Fault.ROLL, ""),
    (Target.NODE, Fault.KILL, ""),
    (Target.INGEST, Fault.FREEZE, ""),
)
"""The first fault of a seed: five in a row have them all."""
_SHORTER: Final = (
    (Target.NODE, Fault.KILL, LEADER),
    (Target.NODE, Fault.KILL, ""),
    (Target.NODE, Fault.FREEZE, ""),
)
SMALL_KINDS: Final = (
    *((target, Fault.KILL) for target in (Target.AGENT, Target.INGEST, Target.DETECT)),
    *((target, Fault.KILL) for target in (Target.ALERT, Target.POSTGRES)),
    *((Target.LINK, fault) for fault in (Fault.CUT, Fault.BLACK_HOLE, Fault.DELAY)),
    (Target.LINK, Fault.HALF_OPEN),
)
TARGETS: Final = tuple(target for target in Target if target is not Target.BROKER)


@dataclass(frozen=True, slots=True)
class Size:
    """Of what is broken.

    Attributes:
        hubs: >= 1, the one to be revoked not among them; each has a link of its own.
        ingest_workers: >= 1.
    """

    hubs: int
    ingest_workers: int


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The faults of a run.

    Attributes:
        apart: Each to be struck at its moment, or later, once the one before is over; of those
            beyond ``ALWAYS`` none after ``apart_s``.
        together: Each to be struck at its moment, all later by as much as the others took longer.
        apart_s: When the first part is to be over, seconds after the sensors began.
    """

    apart: tuple[Strike, ...]
    together: tuple[Strike, ...]
    apart_s: float

    @property
    def strikes(self) -> tuple[Strike, ...]:
        """All of them, in order."""
        return self.apart + self.together


def cluster_plan(seconds: float, seed: int, size: Size) -> ClusterPlan:
    """Return the faults of a run. The same arguments give the same plan.

    Every run revokes the hub that is there for it, freezes ingest and strikes a node at least
    once, however short it is. Kinds come in a seeded order, each before any comes twice.

    Args:
        seconds: How long the sensors measure, > 0.
        seed: Of the run.
        size: Of what is broken.
    """
    dice = random.Random(seed)
    end_s = max(LEAD_S, seconds - TAIL_S)
    apart_s = max(LEAD_S, seconds * APART)
    freeze_s = round(min(INGEST_FROZEN_S, seconds / 3), 3)
    first = LONG_KINDS[seed % len(LONG_KINDS)]
    together = list(_small(dice, (apart_s, end_s), size))
    if first[0] is Target.NODE:
        at_s = _at(dice, apart_s, end_s - freeze_s)
        together.append(Strike(at_s, Target.INGEST, Fault.FREEZE, 0, freeze_s))
    if first[0] is not Target.NODE or end_s - apart_s >= NODE_KILL_S:
        at_s = _at(dice, apart_s, min(apart_s + 1, end_s))
        together.append(_long(dice, at_s, dice.choice(_SHORTER), freeze_s))
    return ClusterPlan(
        tuple(_apart(dice, first, apart_s, freeze_s, size)),
        tuple(sorted(together, key=lambda strike: strike.at_s)),
        apart_s,
    )


def _at(dice: random.Random, first_s: float, last_s: float) -> float:
    return round(dice.uniform(first_s, max(first_s, last_s)), 3)


def _apart(
    dice: random.Random,
    first: tuple[Target, Fault, str],
    apart_s: float,
    freeze_s: float,
    size: Size,
) -> Iterator[Strike]:
    at_s = _at(dice, LEAD_S, LEAD_S + 1)
    yield _long(dice, at_s, first, freeze_s)
    yield Strike(at_s, Target.HUB, Fault.REVOKE)
    for target, fault in dice.sample(SMALL_KINDS, len(SMALL_KINDS)):
        at_s += dice.uniform(*APART_S)
        if at_s < apart_s:
            yield _struck(dice, round(at_s, 3), target, fault, size)


def _long(
    dice: random.Random, at_s: float, kind: tuple[Target, Fault, str], freeze_s: float
) -> Strike:
    target, fault, who = kind
    if target is Target.INGEST:
        return Strike(at_s, target, fault, 0, freeze_s)
    lasts_s = round(dice.uniform(*FREEZE_S), 3) if fault is Fault.FREEZE else 0.0
    return Strike(at_s, target, fault, 0 if who else dice.randrange(NODES), lasts_s)


def _small(dice: random.Random, between_s: tuple[float, float], size: Size) -> Iterator[Strike]:
    kinds: list[tuple[Target, Fault]] = []
    at_s = between_s[0] + dice.uniform(0, SPACING_S)
    while at_s < between_s[1]:
        kinds = kinds or dice.sample(SMALL_KINDS, len(SMALL_KINDS))
        target, fault = kinds.pop()
        yield _struck(dice, round(at_s, 3), target, fault, size)
        at_s += dice.uniform(SPACING_S / 2, SPACING_S * 3 / 2)


def _struck(dice: random.Random, at_s: float, target: Target, fault: Fault, size: Size) -> Strike:
    several = {
        Target.AGENT: size.hubs,
        Target.INGEST: size.ingest_workers,
        Target.LINK: size.hubs + NODES,  # and the stages' way to each node
    }
    victim = dice.randrange(several.get(target, 1))
    lasts_s = round(dice.uniform(*LINK_FAULT_S), 3) if target is Target.LINK else 0.0
    return Strike(at_s, target, fault, victim, lasts_s)
