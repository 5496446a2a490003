"""A fleet: N sensors on each of M hubs, one loop for all of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.disturb import disturbed
from firmware_sim.core.events import Agenda, Event
from firmware_sim.core.pace import Pace, ScaledClock
from firmware_sim.core.physics import Water
from firmware_sim.core.readings import NO_EVENT, Readings
from firmware_sim.ports import Ledger
from firmware_sim.sensor import Connection
from wire.clock import Clock

_ROWS_PER_TURN_MAX: Final = 20_000
_TURN_MS_MIN: Final = 50  # a turn costs a millisecond however few sensors are due
AFFECTED_SHOWN: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Crew:
    """Who measures, and through which connection.

    Attributes:
        sensor_ids: int64, shape ``(n,)``, distinct.
        hub: int16, shape ``(n,)``.
        connection: int64, shape ``(n,)``, index of the connection each sensor speaks through.
        kept: bool, shape ``(n,)``: whether the sensor keeps its readings until committed.
    """

    sensor_ids: NDArray[np.int64]
    hub: NDArray[np.int16]
    connection: NDArray[np.int64]
    kept: NDArray[np.bool_]


class Fleet:
    """Makes readings when they are due and gives each to its connection. Open loop."""

    def __init__(
        self,
        crew: Crew,
        connections: list[Connection],
        clock: Clock,
        scaled: ScaledClock,
        pace: Pace,
        water: Water,
    ) -> None:
        """Take who measures, when, in what water, and who carries it away."""
        self._crew, self._connections = crew, connections
        self._clock, self._scaled, self._pace = clock, scaled, pace
        self._water = water

    async def run(
        self,
        agenda: Agenda,
        ledger: Ledger,
        show: Callable[[dict[str, object]], None],
        stop: asyncio.Event,
    ) -> None:
        """Measure until the pace is finished or ``stop`` is set; never wait for a broker.

        Args:
            agenda: What goes wrong; each event enters the ledger before any reading it touches.
            ledger: For the events.
            show: Told of the first readings each event touched, as they are handed over.
            stop: Set to end early.
        """
        shown: dict[int, int] = {}
        while not self._pace.finished and not stop.is_set():
            now_ms = self._clock.now_ms()
            position, at_ms = self._pace.due(self._scaled.observed_ms(now_ms))
            for low in range(0, len(position), _ROWS_PER_TURN_MAX):
                rows = slice(low, low + _ROWS_PER_TURN_MAX)
                healthy = self._measure(position[rows], at_ms[rows])
                for event in agenda.advance(int(at_ms[rows][0]), int(at_ms[rows][-1])):
                    ledger.event(event.as_json())
                made = disturbed(healthy, agenda.at_work, self._water)
                self._say(made)
                shown = {e.number: shown.get(e.number, 0) for e in agenda.at_work}
                _show_affected(made, agenda.at_work, shown, now_ms, show)
            await self._until_next()

    def _measure(self, position: NDArray[np.int64], at_ms: NDArray[np.int64]) -> Readings:
        sensor_ids = self._crew.sensor_ids[position]
        return Readings(
            sensor_ids,
            at_ms,
            self._water.values(sensor_ids, at_ms),
            hub=self._crew.hub[position],
            kept=self._crew.kept[position],
            label=np.full(len(position), NO_EVENT, np.int32),
        )

    def _say(self, made: Readings) -> None:
        speaker = self._crew.connection[np.searchsorted(self._crew.sensor_ids, made.sensor_ids)]
        for index in np.unique(speaker).tolist():
            self._connections[index].say(made.where(speaker == index))

    async def _until_next(self) -> None:
        wait_ms = self._scaled.wait_ms(self._pace.next_ms, self._clock.now_ms())
        await self._clock.sleep_ms(max(wait_ms, _TURN_MS_MIN))


def _show_affected(
    made: Readings,
    at_work: list[Event],
    shown: dict[int, int],
    now_ms: int,
    show: Callable[[dict[str, object]], None],
) -> None:
    """Tell of each event's first readings: with them a watcher can time the alert they cause."""
    events = {event.number: event for event in at_work}
    for row in np.flatnonzero(made.label != NO_EVENT).tolist():
        number = int(made.label[row])
        shown[number] += 1
        if shown[number] <= AFFECTED_SHOWN:
            show(
                {
                    "affected": events[number].as_json(),
                    "nth": shown[number],
                    "observed_at_ms": int(made.observed_at_ms[row]),
                    "published_at_ms": now_ms,
                }
            )
