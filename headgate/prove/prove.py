"""One proof: start the river, break it according to plan, let it settle, count."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headgate.prove.account import Account, account
from headgate.prove.plan import plan
from headgate.prove.river import INGEST_WORKERS, Fleet, Flood, Hub, started
from headgate.prove.settle import settle
from headgate.prove.strikes import HEAL_WITHIN_S, Striker
from headgate.prove.witness import Witness
from headgate.stack.stack import Stack


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be proved.

    Attributes:
        seconds: How long faults strike.
        hubs: How many.
        flood: What the sensors say; its seed is the plan's too.
    """

    seconds: float
    hubs: int
    flood: Flood


async def prove(wish: Wish, home: Path, tell: Callable[[str], None]) -> Account:
    """Return the account of a run whose data lie in ``home``, an empty folder.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    strikes = plan(wish.seconds, wish.flood.seed, hubs=wish.hubs, ingest_workers=INGEST_WORKERS)
    tell("starting PostgreSQL, the broker, the stages and the hubs")
    stack = Stack(home, ingest_workers=INGEST_WORKERS, any_ports=True, tell=lambda line: None)
    async with started(stack, wish.hubs) as hubs:
        witness = Witness(stack.database_url)
        try:
            async with sensors(stack, hubs, wish, 2 * HEAL_WITHIN_S) as fleets:
                tell(f"{wish.hubs} hubs of {wish.flood.sensors} sensors; {len(strikes)} faults")
                began = time.monotonic()
                healings = await Striker(stack, hubs, witness, tell).carry_out(strikes)
                await asyncio.sleep(wish.seconds - (time.monotonic() - began))
                tell("nothing is broken any more: the sensors stop, the rest drains")
                unsettled = await drained(fleets)
            unsettled += await settle(stack, hubs, witness)
            tell("counting")
            verdicts = [await fleet.judge() for fleet in fleets]
        finally:
            witness.leave()
    return account(wish.flood.seed, verdicts, healings, unsettled)


@asynccontextmanager
async def sensors(
    stack: Stack, hubs: Sequence[Hub], wish: Wish, beyond_s: float
) -> AsyncIterator[list[Fleet]]:
    """Run a fleet for each kind of hub; none outlives this.

    Args:
        stack: Where the hubs are.
        hubs: Of every kind.
        wish: How much the sensors say.
        beyond_s: How much longer than wished they go on, if nobody stops them.
    """
    fleets: list[Fleet] = []
    try:
        for kind in sorted({hub.fleet for hub in hubs}):
            alike = [hub for hub in hubs if hub.fleet == kind]
            flood = wish.flood.small() if alike[0].is_guest else wish.flood
            fleets.append(Fleet(stack, alike, flood, wish.seconds + beyond_s))
        yield fleets
    finally:
        for fleet in fleets:
            fleet.kill()


async def drained(fleets: Sequence[Fleet]) -> list[str]:
    """Stop the sensors; return in words what no hub ever took from them."""
    async with asyncio.TaskGroup() as tasks:
        stopping = [tasks.create_task(fleet.stop(), name="sensors-stop") for fleet in fleets]
    held = sum(task.result() for task in stopping)
    return [f"{held} still held by sensors"] if held else []
