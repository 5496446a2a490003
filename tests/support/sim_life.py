"""The weather of a simulated world, and the processes that live and die in it.

A process is a coroutine in a context of its own. Every neighbour it calls first calls ``step``:
there it may be killed, and once dead nothing it still does while it unwinds reaches the world.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from tests.support.virtual_time import VirtualClock
from wire.errors import InfrastructureError
from wire.ids import UnixMs

STEPS_MAX = 400


class Killed(BaseException):
    """The process died here."""


class NeighbourAwayError(InfrastructureError):
    """The fault the weather asked for."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How often things go wrong, each in 0..1; times in seconds."""

    lose: float = 0.0
    double: float = 0.0
    damage: float = 0.0
    silence: float = 0.0
    store: float = 0.0
    disk: float = 0.0
    full: float = 0.0
    mortal: float = 0.0
    delay_s: float = 0.02


def bad_weather(dice: random.Random) -> Faults:
    """Return faults of a kind of their own: some runs are wet, some are windy."""

    def up_to(share: float) -> float:
        return share * dice.random() if dice.random() < 0.7 else 0.0

    return Faults(
        lose=up_to(0.4),
        double=up_to(0.3),
        damage=up_to(0.15),
        silence=up_to(0.1),
        store=up_to(0.02),
        disk=up_to(0.01),
        full=up_to(0.7),
        mortal=up_to(1.0),
        delay_s=up_to(2.0) + 0.01,
    )


@dataclass(slots=True)
class Weather:
    """One run's dice, faults and trace. The same seed draws the same run."""

    seed: int
    dice: random.Random = field(init=False)
    faults: Faults = field(init=False)
    trace: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.faults = bad_weather(self.dice)

    def note(self, what: str) -> None:
        """Write one line of the trace."""
        self.trace.append((round(asyncio.get_running_loop().time() * 1_000), what))

    def strikes(self, share: float) -> bool:
        """Return whether a fault of this share happens now."""
        return share > 0 and self.dice.random() < share

    def delay_s(self) -> float:
        """Return how long a message takes now; different for each, so they overtake."""
        return self.dice.random() * self.faults.delay_s

    def clear_up(self) -> None:
        """End all faults."""
        self.note("the faults end")
        self.faults = Faults()


@dataclass(slots=True)
class Life:
    """One life of a process; ``left`` steps, below zero as many as it likes."""

    name: str
    weather: Weather
    left: int
    dead: bool = False

    def step(self) -> None:
        """Take one step towards a neighbour, or die on the way."""
        if not self.dead:
            self.left -= 1
            if self.left:
                return
            self.dead = True
            self.weather.note(f"{self.name} dies at a step")
        raise Killed


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


def step() -> None:
    """Take a step as whoever runs now; those outside every process never die."""
    life = LIFE.get()
    if life is not None:
        life.step()


class Process:
    """Runs ``main`` for ever, one life after another."""

    def __init__(self, name: str, weather: Weather, main: Callable[[], Awaitable[None]]) -> None:
        self.name, self.weather, self.main = name, weather, main
        self.life = Life(name, weather, -1)
        self._task: asyncio.Task[None] | None = None
        self._over = False

    async def run(self) -> None:
        """Live, die, wait, live again, until the end."""
        self._task = asyncio.current_task()
        weather = self.weather
        while not self._over:
            mortal = weather.strikes(weather.faults.mortal)
            left = weather.dice.randint(1, STEPS_MAX) if mortal else -1
            self.life = Life(self.name, weather, left)
            LIFE.set(self.life)
            try:
                await self.main()
            except BaseException as exc:
                if not _expected(exc, self.life.dead or self._over):
                    raise
                while self._task is not None and self._task.uncancel():
                    pass
            self.life.dead = True
            LIFE.set(None)
            await asyncio.sleep(0.1 + 2 * weather.dice.random())

    def kill(self) -> None:
        """End this life wherever it waits."""
        if not self.life.dead and self._task is not None:
            self.weather.note(f"{self.name} is killed")
            self.life.dead = True
            self._task.cancel()

    def end(self) -> None:
        """End for good, also if this life is failing at this very moment."""
        self._over = True
        if self._task is not None:
            self._task.cancel()

    def spare(self) -> None:
        """Let the present life go on for good."""
        self.life.left = -1


def _expected(exc: BaseException, dead: bool) -> bool:
    """Return whether a life may end so: killed, or for want of a neighbour."""
    if isinstance(exc, BaseExceptionGroup):
        return all(_expected(each, dead) for each in exc.exceptions)
    if isinstance(exc, Killed | asyncio.CancelledError):
        return dead
    return isinstance(exc, InfrastructureError)


class SlowClock(VirtualClock):
    """Sleeps in steps of its own: at least as long as asked, and far fewer steps a run."""

    def __init__(self, start_ms: UnixMs, step_ms: int) -> None:
        super().__init__(start_ms)
        self._step_ms = step_ms

    async def sleep_ms(self, wait_ms: int) -> None:
        """See ``Clock``."""
        await super().sleep_ms(max(wait_ms, self._step_ms))
