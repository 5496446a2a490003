"""One proof at a cluster: as on one machine, and a hub thrown out and let in again at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from headgate.prove.account import Account, account
from headgate.prove.cluster_plan import TARGETS, Size, cluster_plan
from headgate.prove.cluster_river import ClusterRiver, cluster_with_hubs
from headgate.prove.cluster_strikes import NODE_WITHIN_S, ClusterStriker
from headgate.prove.heal import Healing
from headgate.prove.plan import Target
from headgate.prove.prove import Wish, drained, sensors
from headgate.prove.river import INGEST_WORKERS, Fleet, enrolled
from headgate.prove.settle import settle
from headgate.prove.unavailable import unavailable_s_max
from headgate.prove.witness import Witness
from headgate.stack.errors import StackError

_BEYOND_S: Final = 5 * NODE_WITHIN_S
_LATE_S: Final = 60.0  # what a hub sent before may lie in the queue while ingest stands still


async def prove_cluster(wish: Wish, home: Path, tell: Callable[[str], None]) -> Account:
    """Return the account of a run whose data lie in ``home``, an empty folder.

    The hub that was revoked is judged twice: what the store lacks while it is shut out must still
    be on its disk, and is shown to be there by letting it in again.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    strikes = cluster_plan(wish.seconds, wish.flood.seed, Size(wish.hubs, INGEST_WORKERS))
    tell("starting PostgreSQL, three RabbitMQ nodes, the stages and the hubs")
    async with cluster_with_hubs(home, wish.hubs, lambda line: None) as river:
        everybody = [*river.hubs, river.guest]
        witness = Witness(river.stack.database_url)
        striker = ClusterStriker(river, witness, tell)
        try:
            async with sensors(river.stack, everybody, wish, _BEYOND_S) as fleets:
                tell(
                    f"{len(everybody)} hubs of {wish.flood.sensors} sensors; {len(strikes)} faults"
                )
                began = time.monotonic()
                healings = await striker.carry_out(strikes)
                await asyncio.sleep(wish.seconds - (time.monotonic() - began))
                tell("nothing is broken any more: the sensors stop, the rest drains")
                wrong = await drained(fleets)
            wrong += await settle(river.stack, river.hubs, witness, but=[river.guest])
            held, unheard = await _shut_out(river, fleets, witness, healings)
            tell(f"{river.guest.name} holds {held} readings; it is let in again")
            await _let_in(river)
            wrong += unheard + await settle(river.stack, everybody, witness)
            tell("counting")
            verdicts = [await fleet.judge() for fleet in fleets]
            stored_ms = await witness.stored_ms() or {}
        finally:
            witness.leave()
    windows_s = {hub.name: float(hub.window_s) for hub in everybody}
    more: dict[str, Any] = {
        "held_by_revoked": held,
        "waiting_while_frozen": striker.frozen_waiting,
        "unavailable_s_max": unavailable_s_max(healings, stored_ms, windows_s),
    }
    wrong += _never_grew(striker.frozen_waiting)
    return account(wish.flood.seed, verdicts, healings, wrong, targets=TARGETS, more=more)


async def _shut_out(
    river: ClusterRiver, fleets: Sequence[Fleet], witness: Witness, healings: Sequence[Healing]
) -> tuple[int, list[str]]:
    """Return how many readings the store lacks of a hub that is shut out, and what is wrong."""
    (fleet,) = (fleet for fleet in fleets if fleet.is_guest)
    held = int((await fleet.judge())["missing"])
    out_ms = max(each.healed_ms for each in healings if each.strike.target is Target.HUB)
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


def _never_grew(waiting: tuple[int, int] | None) -> list[str]:
    before, after = waiting or (0, 0)
    return [] if after > before else ["the spools did not grow while ingest stood still"]
