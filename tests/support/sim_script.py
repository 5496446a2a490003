"""What the sensors of one run will say, drawn from its dice."""

import random
from dataclasses import dataclass, field

from tests.support.builders import NOON
from tests.support.sim_sensors import Said, Timeless, some

FAULTY_S = 7.0
"""Sensors say eleven seconds' worth of readings within it: some of it is a backlog."""
_GOOD_PH, _BAD_PH, _ABSURD_PH = 8.2, 8.8, 20.0
_BREACH = 5
_FLOW_STEPS = 4_000


@dataclass(slots=True)
class Script:
    """The sensors of one hub.

    Attributes:
        lines: When they say what.
        flows: The flow of every dated reading, by (sensor, time): each value said once.
        kept: Dated readings of sensors that keep them until committed.
        expired: Sensors whose clock stands in 1970.
        timeless: The flows said by sensors without a clock.
        breach: (sensor, first time, last time) of the contamination, if there is one here.
    """

    lines: list[Said | Timeless] = field(default_factory=list)
    flows: dict[tuple[int, int], float] = field(default_factory=dict)
    kept: set[tuple[int, int]] = field(default_factory=set)
    expired: set[int] = field(default_factory=set)
    timeless: list[float] = field(default_factory=list)
    breach: tuple[int, int, int] | None = None


def a_script(dice: random.Random, first_sensor: int, *, breach: bool, timeless: bool) -> Script:
    """Return a hub's script: one sensor keeps, one forgets, one is odd."""
    script = Script()
    for place in range(3):
        sensor_id = first_sensor + place
        if place == 2 and timeless:
            _say_timeless(script, dice, sensor_id)
            continue
        if place == 2 and dice.random() < 0.5:
            script.expired.add(sensor_id)
        odd = place == 2 and not script.expired
        _say(script, dice, sensor_id, kept=place == 0, odd=odd, breach=breach and place == 0)
    return script


def _say(
    script: Script, dice: random.Random, sensor_id: int, *, kept: bool, odd: bool, breach: bool
) -> None:
    start = dice.randrange(1_000) + (0 if sensor_id in script.expired else NOON)
    count = dice.randint(8, 11)
    times = [start + 1_000 * tick for tick in range(count)]
    ph = [round(_GOOD_PH + 0.001 * dice.randrange(100), 3) for _ in times]
    if breach:
        first = dice.randint(2, count - _BREACH - 1)
        ph[first : first + _BREACH] = [_BAD_PH] * _BREACH
        script.breach = sensor_id, times[first], times[first + _BREACH - 1]
    if odd:
        ph[dice.randrange(count)] = _ABSURD_PH
    flow = [step / 10 for step in dice.sample(range(_FLOW_STEPS), count)]
    low = 0
    while low < count:
        high = min(count, low + dice.randint(2, 6))
        said = some(sensor_id, times[low:high], ph[low:high], flow[low:high], kept=kept)
        script.lines.append(Said((times[high - 1] - start) / 2_000 + 0.5, said))
        low = high
    script.flows.update(zip(((sensor_id, at) for at in times), flow, strict=True))
    if kept:
        script.kept.update((sensor_id, at) for at in times)


def _say_timeless(script: Script, dice: random.Random, sensor_id: int) -> None:
    for number, step in enumerate(dice.sample(range(_FLOW_STEPS), 6)):
        script.timeless.append(step / 10)
        script.lines.append(Timeless(0.7 + 1.1 * number, sensor_id, step / 10))
