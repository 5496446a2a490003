"""For how long rows stood still, fault by fault: decided from the times of commits, without I/O."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from headgate.prove.heal import Healing
from headgate.prove.plan import Target

Times = Mapping[str, Sequence[int]]
"""Hub to when batches of it were newly stored, Unix milliseconds, ascending."""
_BEHIND_THE_STORE: Final = frozenset({Target.DETECT, Target.ALERT})


def unavailable_s_max(
    healings: Collection[Healing], stored_ms: Times, windows_s: Mapping[str, float]
) -> dict[str, float]:
    """Return for each kind of fault the longest time in which one of its hubs made no progress.

    Unavailable is a hub from the last commit of a batch of its own before the fault, or during it,
    to the next one, as the store dates its commits (a receipt follows each): so the hub's own wait
    until it notices, its way round, the resend and the catching up are all in it. Counted are
    gaps that were open at some moment between the strike and its healing, whole, less the length
    of the hub's windows: it has nothing to say in between. Where faults overlap, each is charged
    with the gap; a hub thrown out on purpose only with what its neighbours felt while nothing else
    was wrong. Detection and alerts are behind the store: theirs is the time until they healed.

    Args:
        healings: Of every fault.
        stored_ms: When the store committed what.
        windows_s: Hub to the length of its windows.
    """
    worst: dict[str, float] = {}
    for each in healings:
        felt_s = max(_felt_s(each, healings, stored_ms, windows_s), default=0.0)
        worst[each.strike.kind] = max(felt_s, worst.get(each.strike.kind, 0.0))
    return {kind: round(worst[kind], 2) for kind in sorted(worst)}


def _felt_s(
    fault: Healing, among: Collection[Healing], stored_ms: Times, windows_s: Mapping[str, float]
) -> Iterator[float]:
    if fault.strike.target in _BEHIND_THE_STORE:
        yield fault.heal_s or 0.0
        return
    others = [each for each in among if each is not fault]
    for hub in fault.hubs:
        for began_ms, ended_ms in _gaps(stored_ms.get(hub, ()), fault):
            excused = fault.strike.target is Target.HUB and any(
                each.struck_ms < ended_ms and each.healed_ms > began_ms for each in others
            )
            if not excused:
                yield (ended_ms - began_ms) / 1_000 - windows_s.get(hub, 0.0)


def _gaps(times_ms: Sequence[int], fault: Healing) -> Iterator[tuple[int, int]]:
    """Yield the gaps between commits that were open while a fault was felt."""
    first = max(1, bisect_left(times_ms, fault.struck_ms))
    last = bisect_right(times_ms, fault.healed_ms)
    yield from pairwise(times_ms[first - 1 : last + 1])
