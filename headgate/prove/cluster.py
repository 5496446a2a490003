"""One proof at a cluster: as on one machine, and a hub thrown out and let in again at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.prove.account import Account, account
from headgate.prove.cluster_plan import TARGETS, Size, cluster_plan
from headgate.prove.cluster_river import ClusterRiver, cluster_with_hubs
from headgate.prove.cluster_strikes import NODE_WITHIN_S, ClusterStriker
from headgate.prove.heal import Healing
from headgate.prove.plan import Target
from headgate.prove.prove import Wish, drained, sensors
from headgate.prove.river import INGEST_WORKERS, Fleet, Hub, enrolled
from headgate.prove.settle import settle
from headgate.prove.strikes import now_ms
from headgate.prove.unavailable import unavailable_s_max
from headgate.prove.witness import LOOK_EVERY_S, Witness
from headgate.stack.errors import StackError

_BEYOND_S: Final = 5 * NODE_WITHIN_S
_HEARD_WITHIN_S: Final = 60.0
_LATE_S: Final = 60.0  # what a hub sent before may lie in the queue while ingest stands still


async def prove_cluster(wish: Wish, home: Path, tell: Callable[[str], None]) -> Account:
    """Return the account of a run whose data lie in ``home``, an empty folder.

    The hub that was revoked is judged twice: what the store lacks while it is shut out must still
    be on its disk, and is shown to be there by letting it in again.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    tell("starting PostgreSQL, three RabbitMQ nodes, the stages and the hubs")
    async with cluster_with_hubs(home, wish.hubs, lambda line: None) as river:
        everybody = [*river.hubs, river.guest]
        witness = Witness(river.stack.database_url)
        striker = ClusterStriker(river, witness, tell)
        try:
            struck = await _strike(river, striker, witness, wish, tell)
            wrong = struck.left + await settle(river.stack, river.hubs, witness, but=[river.guest])
            held, unheard = await _shut_out(river, witness, struck)
            tell(f"{river.guest.name} holds {held} readings; it is let in again")
            await _let_in(river)
            wrong += unheard + await settle(river.stack, everybody, witness)
            tell("counting")
            verdicts = [await fleet.judge() for fleet in struck.fleets]
            stored_ms = await witness.stored_ms(struck.began_ms)
        finally:
            witness.leave()
    pace = wish.flood.rate / wish.flood.sensors  # seconds of the sensors in one of ours
    windows_s = {hub.name: hub.window_s / pace for hub in everybody}
    more: dict[str, Any] = {
        "held_by_revoked": held,
        "held_while_frozen": striker.held_while_frozen,
        "unavailable_s_max": unavailable_s_max(struck.healings, stored_ms, windows_s),
    }
    wrong += _never_grew(*striker.held_while_frozen)
    return account(wish.flood.seed, verdicts, struck.healings, wrong, targets=TARGETS, more=more)


@dataclass(frozen=True, slots=True)
class _Struck:
    """What is left when nothing is broken any more.

    Attributes:
        fleets: The sensors, which have ended.
        began_ms: When they began, Unix milliseconds.
        healings: Of every fault.
        left: What no hub ever took from them, in words.
    """

    fleets: list[Fleet]
    began_ms: int
    healings: list[Healing]
    left: list[str]


async def _strike(
    river: ClusterRiver,
    striker: ClusterStriker,
    witness: Witness,
    wish: Wish,
    tell: Callable[[str], None],
) -> _Struck:
    """Let the sensors measure, break everything according to plan, and let the sensors end."""
    plan = cluster_plan(wish.seconds, wish.flood.seed, Size(wish.hubs, INGEST_WORKERS))
    everybody, began_ms = [*river.hubs, river.guest], now_ms()
    async with sensors(river.stack, everybody, wish, _BEYOND_S) as fleets:
        await _heard(witness, everybody)
        tell(f"{len(everybody)} hubs of {wish.flood.sensors} sensors; {len(plan.strikes)} faults")
        began = time.monotonic()
        healings = await striker.break_all(plan)
        await asyncio.sleep(wish.seconds - (time.monotonic() - began))
        tell("nothing is broken any more: the sensors stop, the rest drains")
        return _Struck(fleets, began_ms, healings, await drained(fleets))


async def _heard(witness: Witness, hubs: Sequence[Hub]) -> None:
    """Wait until the store has something of every hub that sends without windows.

    Raises:
        StackError: It never has.
    """
    wanted = {hub.name for hub in hubs if not hub.window_s}
    try:
        async with asyncio.timeout(_HEARD_WITHIN_S):
            while True:
                seen = await witness.look()
                if seen and wanted <= seen.received_ms.keys():
                    return
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError as exc:
        raise StackError("the river never began to flow", hint="read the logs") from exc


async def _shut_out(
    river: ClusterRiver, witness: Witness, struck: _Struck
) -> tuple[int, list[str]]:
    """Return how many readings the store lacks of a hub that is shut out, and what is wrong."""
    (fleet,) = (fleet for fleet in struck.fleets if fleet.is_guest)
    held = int((await fleet.judge())["missing"])
    out_ms = max(each.healed_ms for each in struck.healings if each.strike.target is Target.HUB)
    seen = await witness.look()
    if seen is None:
        raise StackError("the store does not answer", hint="read logs/postgres.log")
    late_s = (seen.received_ms.get(river.guest.name, 0) - out_ms) / 1_000
    wrong = [] if held else [f"{river.guest.name} was never shut out"]
    if late_s > _LATE_S:
        wrong.append(f"{river.guest.name} was heard {late_s:.1f} s after it was shut out")
    return held, wrong


async def _let_in(river: ClusterRiver) -> None:
    """Give the hub that was thrown out a new certificate, and its agent a new life."""
    guest = river.guest
    await enrolled(river.stack, guest.name, guest.window_s, guest.links, guest.sensors_port)
    with suppress(StackError):  # it has just ended by itself: its next life reads the new ones
        river.stack.kill(guest.name)


def _never_grew(before: int, after: int) -> list[str]:
    return [] if after > before else ["the spools did not grow while ingest stood still"]
