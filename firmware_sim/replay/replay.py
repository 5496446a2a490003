"""A record is read no faster than its hub commits it: nothing floods, nothing is lost."""

import asyncio
from collections.abc import Iterator
from typing import Final

import numpy as np

from firmware_sim.core.pace import ScaledClock
from firmware_sim.core.readings import Readings
from firmware_sim.sensor import Connection
from wire.clock import Clock

HELD_MAX: Final = 20_000
_TURN_MS_MIN: Final = 10
_STOP_SEEN_S: Final = 0.2


async def replay(
    blocks: Iterator[Readings],
    connection: Connection,
    clock: Clock,
    speed: float | None,
    stop: asyncio.Event,
) -> None:
    """Say every reading; return when all are said, not when all are committed.

    Args:
        blocks: In order of time.
        connection: To the hub.
        clock: The wall's.
        speed: File seconds in a second; None = as fast as the hub commits.
        stop: Set to end early.
    """
    line: ScaledClock | None = None
    for block in blocks:
        if speed is not None and line is None and len(block):
            line = ScaledClock(clock.now_ms(), int(block.observed_at_ms[0]), speed)
        for part in _parts(block, HELD_MAX // 2):
            if not await _room(HELD_MAX - len(part), connection, stop):
                return
            if line is None:
                connection.say(part)
            else:
                await _say_in_time(part, connection, clock, line)


async def _room(most: int, connection: Connection, stop: asyncio.Event) -> bool:
    """Return True once at most ``most`` readings are held, False if told to stop before."""
    while not stop.is_set():
        try:
            async with asyncio.timeout(_STOP_SEEN_S):
                await connection.settled_to(most)
                return True
        except TimeoutError:
            continue
    return False


async def _say_in_time(
    part: Readings, connection: Connection, clock: Clock, line: ScaledClock
) -> None:
    said = 0
    while said < len(part):
        now_ms = line.observed_ms(clock.now_ms())
        due = int(np.searchsorted(part.observed_at_ms, now_ms, side="right"))
        if due > said:
            connection.say(part.where(np.arange(said, due)))
            said = due
        else:
            wait_ms = line.wait_ms(int(part.observed_at_ms[said]), clock.now_ms())
            await clock.sleep_ms(max(wait_ms, _TURN_MS_MIN))


def _parts(block: Readings, most: int) -> Iterator[Readings]:
    for low in range(0, len(block), most):
        yield block.where(np.arange(low, min(low + most, len(block))))
