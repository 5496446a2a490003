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
    of the hub's windows: it has nothing to say in between. If a second fault on a hub's way was
    open in one of them, that hub's are nobody's; a kind that never was alone is left out. Detection
    and alerts are behind the store: theirs is the time until they healed, if all else was well.

    Args:
        healings: Of every fault.
        stored_ms: When the store committed what.
        windows_s: Hub to how long its windows last, seconds of ours.
    """
    worst: dict[str, float] = {}
    for each in healings:
        for felt_s in _felt_s(each, healings, stored_ms, windows_s):
            worst[each.strike.kind] = max(felt_s, worst.get(each.strike.kind, 0.0))
    return {kind: round(worst[kind], 2) for kind in sorted(worst)}


def _felt_s(
    fault: Healing, among: Collection[Healing], stored_ms: Times, windows_s: Mapping[str, float]
) -> Iterator[float]:
    others = [each for each in among if each is not fault]
    if fault.strike.target in _BEHIND_THE_STORE:
        alone = not any(_open(each, fault.struck_ms, fault.healed_ms) for each in others)
        if alone and fault.heal_s is not None:
            yield fault.heal_s
        return
    before_it = [each for each in others if each.strike.target not in _BEHIND_THE_STORE]
    for hub in fault.hubs:
        on_its_way = [each for each in before_it if hub in each.hubs]
        gaps = list(_gaps(stored_ms.get(hub, ()), fault))
        if gaps and not any(_open(each, gaps[0][0], gaps[-1][1]) for each in on_its_way):
            longest_ms = max(ended_ms - began_ms for began_ms, ended_ms in gaps)
            yield max(0.0, longest_ms / 1_000 - windows_s.get(hub, 0.0))


def _open(fault: Healing, began_ms: int, ended_ms: int) -> bool:
    """Return whether a fault was open at some moment of a time."""
    return fault.struck_ms < ended_ms and fault.healed_ms > began_ms


def _gaps(times_ms: Sequence[int], fault: Healing) -> Iterator[tuple[int, int]]:
    """Yield the gaps between commits that were open while a fault was felt."""
    first = max(1, bisect_left(times_ms, fault.struck_ms))
    last = bisect_right(times_ms, fault.healed_ms)
    yield from pairwise(times_ms[first - 1 : last + 1])
