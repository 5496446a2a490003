"""What is broken at a cluster, and when: a pure function of seconds, seed and size.

Two lanes run side by side. Small faults follow each other closely, as on one machine. Nodes are
struck one after the other, the next once the cluster is whole again: who loses two of three has no
broker at all, which the broker's own kill on one machine proves.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.prove.plan import LEAD_S, LINK_FAULT_S, TAIL_S, Fault, Strike, Target

SPACING_S: Final = 4.0
"""Between two small faults."""
FREEZE_S: Final = (4.0, 25.0)
"""A node stands still for so long: less and more than the others wait before they give it up."""
INGEST_FROZEN_S: Final = 30.0
"""All of ingest stands still for so long, or for a third of the run."""
NODES: Final = 3

NODE_KINDS: Final = ("leader", "any", Fault.FREEZE, Fault.ROLL)
_COSTS_S: Final = {"leader": 15.0, "any": 15.0, Fault.FREEZE: 20.0, Fault.ROLL: 50.0}
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


def cluster_plan(seconds: float, seed: int, size: Size) -> tuple[Strike, ...]:
    """Return the faults of a run, in order of time. The same arguments give the same plan.

    Every run revokes the hub that is there for it, freezes ingest and strikes a node at least
    once, however short it is. Kinds come in a seeded order, each before any comes twice.

    Args:
        seconds: How long the sensors measure, > 0.
        seed: Of the run.
        size: Of what is broken.
    """
    dice = random.Random(seed)
    end_s = max(LEAD_S, seconds - TAIL_S)
    freeze_s = min(INGEST_FROZEN_S, seconds / 3)
    once = (
        Strike(_at(dice, end_s - freeze_s), Target.INGEST, Fault.FREEZE, 0, round(freeze_s, 3)),
        Strike(_at(dice, end_s - LEAD_S), Target.HUB, Fault.REVOKE),
    )
    found = (*once, *_nodes(dice, end_s), *_small(dice, end_s, size))
    return tuple(sorted(found, key=lambda strike: strike.at_s))


def _at(dice: random.Random, last_s: float) -> float:
    return round(dice.uniform(LEAD_S, max(LEAD_S, last_s)), 3)


def _nodes(dice: random.Random, end_s: float) -> Iterator[Strike]:
    at_s, kinds = LEAD_S + dice.uniform(0, 1), dice.sample(NODE_KINDS, len(NODE_KINDS))
    for number, kind in enumerate(kinds):
        lasts_s = round(dice.uniform(*FREEZE_S), 3) if kind is Fault.FREEZE else 0.0
        cost_s = _COSTS_S[kind] + lasts_s
        if number and at_s + cost_s > end_s:
            continue
        fault = kind if isinstance(kind, Fault) else Fault.KILL
        victim = 0 if kind == "leader" else dice.randrange(NODES)
        yield Strike(round(at_s, 3), Target.NODE, fault, victim, lasts_s)
        at_s += cost_s


def _small(dice: random.Random, end_s: float, size: Size) -> Iterator[Strike]:
    kinds: list[tuple[Target, Fault]] = []
    at_s = LEAD_S + dice.uniform(0, SPACING_S)
    while at_s < end_s:
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


def kinds_of(plan: Sequence[Strike]) -> list[str]:
    """Return the kinds of fault in a plan, sorted."""
    return sorted({strike.kind for strike in plan})
