"""Carries a plan out: kills and bad links at their moments, and how long each was felt."""

import asyncio
import time
import zlib
from collections.abc import Callable, Sequence

from headgate.prove.heal import Healing, works_again
from headgate.prove.link import Link
from headgate.prove.plan import Fault, Strike, Target
from headgate.prove.river import INGEST_WORKERS, Hub
from headgate.prove.witness import Witness
from headgate.stack.errors import StackError
from headgate.stack.stack import Stack

HEAL_WITHIN_S = 60.0
_RUNS_WITHIN_S = 30.0
_POLL_S = 0.02
_DELAY_S = 0.4


class Striker:
    """Breaks one river according to plan."""

    def __init__(
        self, stack: Stack, hubs: Sequence[Hub], witness: Witness, tell: Callable[[str], None]
    ) -> None:
        """Take what to break, who sees it heal, and whom to tell."""
        self._stack, self._hubs, self._witness, self._tell = stack, hubs, witness, tell
        self._began = time.monotonic()

    async def carry_out(self, plan: Sequence[Strike]) -> list[Healing]:
        """Strike at every moment of the plan, counted from now; return once all is healed.

        What is not healed ``HEAL_WITHIN_S`` after its fault is given up.
        """
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._witness.watch(), name="witness")
            async with asyncio.TaskGroup() as strikes:
                felt = [
                    strikes.create_task(self._strike(strike), name=f"{strike.fault}-{at}")
                    for at, strike in enumerate(plan)
                ]
            watching.cancel()
        return [task.result() for task in felt]

    async def _strike(self, strike: Strike) -> Healing:
        await self._moment(strike)
        name, struck_ms, heal_s = self._name(strike), now_ms(), None
        try:
            async with asyncio.timeout(self._within_s(strike)):
                heal_s = await self._break(strike, name)
        except TimeoutError:
            self._say(f"{name} has not healed")
        else:
            self._say(f"{name} healed after {heal_s:.1f} s")
        return Healing(strike, name, heal_s, struck_ms, now_ms(), tuple(self._affected(strike)))

    async def _moment(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s - (time.monotonic() - self._began))

    def _within_s(self, strike: Strike) -> float:
        return strike.lasts_s + _RUNS_WITHIN_S + HEAL_WITHIN_S

    async def _break(self, strike: Strike, name: str) -> float:
        """Do it, and undo it where it does not end by itself; return how long it took to heal."""
        if strike.target is Target.LINK:
            return await self._spoil(strike, name)
        return await self._kill(strike, name)

    async def _kill(self, strike: Strike, name: str) -> float:
        pid = await self._kill_once_it_runs(name)
        since_ms = now_ms()
        self._say(f"{strike.fault} {name}")
        while not self._runs_again(name, pid):
            await self._witness.news()
        after_ms = now_ms() if strike.target is Target.ALERT else since_ms
        await self._seen_again(strike, after_ms)
        return (self._witness.seen.at_ms - since_ms) / 1_000

    def _runs_again(self, name: str, killed: int) -> bool:
        pid = self._stack.processes.get(name)
        return pid not in (None, killed) and self._stack.serves(name)

    async def _kill_once_it_runs(self, name: str) -> int:
        while True:
            try:
                return self._stack.kill(name)
            except StackError:  # another fault has only just struck it
                await asyncio.sleep(_POLL_S)

    async def _spoil(self, strike: Strike, name: str) -> float:
        ways = self._ways(strike)
        self._say(f"{name}: {strike.fault} for {strike.lasts_s:.1f} s")
        for way in ways:
            _worsen(way, strike.fault)
        await asyncio.sleep(strike.lasts_s)
        for way in ways:
            _mend(way, strike.fault)
        good_ms = now_ms()
        await self._seen_again(strike, good_ms)
        return (self._witness.seen.at_ms - good_ms) / 1_000

    def _ways(self, strike: Strike) -> Sequence[Link]:
        return self._hubs[strike.victim].links

    async def _seen_again(self, strike: Strike, since_ms: int) -> None:
        hubs = self._affected(strike)
        while not works_again(strike.target, hubs, since_ms, await self._witness.news()):
            pass

    def _affected(self, strike: Strike) -> list[str]:
        match strike.target:
            case Target.AGENT | Target.LINK:
                return [self._hubs[strike.victim].name]
            case Target.INGEST:
                return [hub.name for hub in self._hubs if _worker(hub) == strike.victim]
            case _:
                return [hub.name for hub in self._hubs]

    def _name(self, strike: Strike) -> str:
        match strike.target:
            case Target.AGENT:
                return self._hubs[strike.victim].name
            case Target.LINK:
                return f"link of {self._hubs[strike.victim].name}"
            case Target.BROKER:
                return "gateway"
            case Target.INGEST if INGEST_WORKERS > 1:
                return f"ingest-{strike.victim}"
            case _:
                return str(strike.target)

    def _say(self, what: str) -> None:
        self._tell(f"{time.monotonic() - self._began:6.1f} s  {what}")


def _worker(hub: Hub) -> int:
    """Return which ingest worker a hub's batches go to where workers share the hubs out."""
    return zlib.crc32(hub.name.encode()) % INGEST_WORKERS


def _worsen(way: Link, fault: Fault) -> None:
    match fault:
        case Fault.CUT:
            way.refuse = True
            way.cut()
        case Fault.BLACK_HOLE:
            way.black_hole = True
        case Fault.DELAY:
            way.delay_s = _DELAY_S
        case Fault.HALF_OPEN:
            way.half_open()
        case _:
            raise AssertionError("a link has no process")


def _mend(way: Link, fault: Fault) -> None:
    match fault:
        case Fault.CUT:
            way.refuse = False
        case Fault.BLACK_HOLE:
            way.black_hole = False
            way.cut()  # what it swallowed is missing in the middle of a stream
        case Fault.DELAY:
            way.delay_s = 0.0
        case Fault.HALF_OPEN:
            pass  # new connections were good all the time; to find that out is the hub's own task
        case _:
            raise AssertionError("a link has no process")


def now_ms() -> int:
    """Return the machine's clock, Unix milliseconds: the store's is the same."""
    return time.time_ns() // 1_000_000
