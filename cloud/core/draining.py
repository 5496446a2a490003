"""Whose turn it is where one worker serves several lanes: high first, and low never starves."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from wire.topics import Lane

LOW_EVERY: Final = 16  # while low waits, one turn in so many is its own
MEDIUM_EVERY: Final = 4
assert 1 < MEDIUM_EVERY < LOW_EVERY


@dataclass(frozen=True, slots=True)
class Turns:
    """How many turns others have had since a lane's last one.

    Attributes:
        low: Since low's, while it waited.
        medium: Since medium's, while it waited.
    """

    low: int = 0
    medium: int = 0


def next_lane(waiting: Collection[Lane], turns: Turns) -> tuple[Lane, Turns]:
    """Return whose turn it is and what to remember.

    High is passed over at most twice in a row; medium gets one turn in ``MEDIUM_EVERY + 1``, low
    one in ``LOW_EVERY``. Nothing idles while anything waits.

    Args:
        waiting: Lanes that have something, at least one.
        turns: As the last call left it.
    """
    lane = _choose(waiting, turns)
    low = turns.low + 1 if Lane.LOW in waiting and lane is not Lane.LOW else 0
    medium = turns.medium + 1 if Lane.MEDIUM in waiting and lane is not Lane.MEDIUM else 0
    return lane, Turns(low, medium)


def _choose(waiting: Collection[Lane], turns: Turns) -> Lane:
    if Lane.LOW in waiting and turns.low >= LOW_EVERY - 1:
        return Lane.LOW
    if Lane.MEDIUM in waiting and turns.medium >= MEDIUM_EVERY - 1:
        return Lane.MEDIUM
    return next(lane for lane in Lane if lane in waiting)
