"""When what was broken works again: decided from what the store shows, without I/O."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from headgate.prove.plan import Strike, Target


@dataclass(frozen=True, slots=True)
class Seen:
    """What the store showed at one moment. Times are Unix milliseconds.

    Attributes:
        at_ms: When it answered.
        received_ms: Hub to when the cloud last received a batch of it that it then stored.
        born_ms: Hub to when the store first heard of the newest life of its agent.
        evaluated_ms: When detection last committed; None if it never did.
        unsettled_ms: When the oldest finding without an alert's answer was found; None if all have.
    """

    at_ms: int
    received_ms: Mapping[str, int] = field(default_factory=dict)
    born_ms: Mapping[str, int] = field(default_factory=dict)
    evaluated_ms: int | None = None
    unsettled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Healing:
    """One fault and how long it was felt.

    Attributes:
        strike: What was done.
        name: Of the process or hub.
        heal_s: From the kill, or from the end of a link's bad time, to the first evidence that it
            works again; None if none came in time.
        struck_ms: When it was done, Unix milliseconds.
        healed_ms: When that evidence was there, or was given up.
        hubs: Whose readings pass what was broken.
    """

    strike: Strike
    name: str
    heal_s: float | None
    struck_ms: int = 0
    healed_ms: int = 0
    hubs: tuple[str, ...] = ()


def works_again(target: Target, hubs: Collection[str], since_ms: int, seen: Seen) -> bool:
    """Return whether the store shows that a target works again.

    An agent: a batch of a life born since was stored. Link, broker, node, ingest, PostgreSQL: a
    batch of one of the hubs, received since, was stored; a hub may still be away for reasons of
    its own.
    Detection: it committed. Alerts: nothing found before then is unanswered.

    Args:
        target: What was broken.
        hubs: Those whose batches pass it; of none, nothing can be seen, and that is enough.
        since_ms: When it was killed, or its link was good again; for ``ALERT`` when its process
            was back. Unix milliseconds.
        seen: What the store shows, asked after ``since_ms``.
    """
    if seen.at_ms < since_ms:
        return False
    match target:
        case Target.AGENT:
            return _any_since(seen.born_ms, hubs, since_ms)
        case Target.LINK | Target.BROKER | Target.NODE | Target.INGEST | Target.POSTGRES:
            return _any_since(seen.received_ms, hubs, since_ms)
        case Target.DETECT:
            return (seen.evaluated_ms or 0) > since_ms
        case Target.ALERT:
            return seen.unsettled_ms is None or seen.unsettled_ms > since_ms
        case Target.HUB:
            raise AssertionError("a hub thrown out does not come back")


def worst_heal_s(healings: Iterable[Healing]) -> float | None:
    """Return the longest healing, None if nothing healed."""
    healed = [healing.heal_s for healing in healings if healing.heal_s is not None]
    return max(healed, default=None)


def _any_since(times_ms: Mapping[str, int], hubs: Collection[str], since_ms: int) -> bool:
    return not hubs or any(times_ms.get(hub, 0) > since_ms for hub in hubs)
