"""What only a cluster can suffer: nodes killed, frozen and rolled, ingest frozen, a hub revoked."""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from headgate.prove.cluster_plan import ALWAYS, ClusterPlan
from headgate.prove.cluster_river import ClusterRiver
from headgate.prove.heal import Healing
from headgate.prove.link import Link
from headgate.prove.plan import Fault, Strike, Target
from headgate.prove.river import INGEST_WORKERS, held
from headgate.prove.strikes import HEAL_WITHIN_S, Striker, now_ms
from headgate.prove.witness import Witness
from wire.queues import Queue

NODE_WITHIN_S: Final = 150.0
"""A node is back and the cluster whole, on a busy machine."""
_LOOK_EVERY_S: Final = 0.25
_LOOKS: Final = 3
_TURNS: Final = frozenset({Target.NODE, Target.INGEST})
_UNDER_WAY_S: Final = (
    1.0  # what was under way over a connection when it died has been stored by then
)


class ClusterStriker(Striker):
    """Breaks one cluster according to plan; faults of a kind take turns where that is said.

    To begin, ``break_all``.

    Attributes:
        held_while_frozen: Readings on the disks of hubs without windows once ingest stood still,
            and before it went on.
    """

    def __init__(self, river: ClusterRiver, witness: Witness, tell: Callable[[str], None]) -> None:
        """Take what to break, who sees it heal, and whom to tell."""
        super().__init__(river.stack, river.hubs, witness, tell)
        self._river = river
        self._turns: defaultdict[Target, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._leader = 0
        self._late_s = 0.0
        self.held_while_frozen = (0, 0)

    async def break_all(self, plan: ClusterPlan) -> list[Healing]:
        """Carry both parts of a plan out, counted from now; return once all is healed.

        What is not healed in time is given up.
        """
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._witness.watch(), name="witness")
            healings = await self._apart(plan)
            self._late_s = max(0.0, self._age_s() - plan.apart_s)
            async with asyncio.TaskGroup() as strikes:
                felt = [
                    strikes.create_task(self._strike(strike), name=f"{strike.fault}-{at}")
                    for at, strike in enumerate(plan.together)
                ]
            watching.cancel()
        return healings + [task.result() for task in felt]

    async def _apart(self, plan: ClusterPlan) -> list[Healing]:
        """Strike one after the other, the next once every hub the last one concerned is heard."""
        healings: list[Healing] = []
        for strike in plan.apart:
            if len(healings) >= ALWAYS and self._age_s() >= plan.apart_s:
                break
            healings.append(await self._strike(strike))
            with suppress(TimeoutError):
                async with asyncio.timeout(HEAL_WITHIN_S):
                    await self._all_heard(healings[-1])
        return healings

    async def _all_heard(self, healing: Healing) -> None:
        while True:
            heard = (await self._witness.news()).received_ms
            if all(heard.get(hub, 0) > healing.healed_ms for hub in healing.hubs):
                return

    async def _moment(self, strike: Strike) -> None:
        await asyncio.sleep(strike.at_s + self._late_s - self._age_s())

    def _age_s(self) -> float:
        return time.monotonic() - self._began

    async def _strike(self, strike: Strike) -> Healing:
        if strike.target not in _TURNS:
            return await super()._strike(strike)
        await self._moment(strike)
        async with self._turns[strike.target]:
            if strike.target is Target.NODE:
                self._leader = await self._leading()
            return await super()._strike(strike)

    async def _break(self, strike: Strike, name: str) -> float:
        match strike.target, strike.fault:
            case Target.NODE, Fault.KILL:
                return await self._kill_node(strike, name, signal.SIGKILL)
            case Target.NODE, Fault.FREEZE:
                return await self._freeze_node(strike, name)
            case Target.NODE, Fault.ROLL:
                return await self._roll(strike)
            case Target.INGEST, Fault.FREEZE:
                return await self._freeze_ingest(strike)
            case Target.HUB, Fault.REVOKE:
                return await self._revoke()
            case _:
                return await super()._break(strike, name)

    async def _kill_node(self, strike: Strike, name: str, how: signal.Signals) -> float:
        pid = self._stack.signal(name, how)
        since_ms = now_ms()
        self._say(f"{how.name} to {name}")
        while not self._runs_again(name, pid):
            await self._witness.news()
        await self._whole_again(strike, since_ms)
        return (now_ms() - since_ms) / 1_000

    async def _freeze_node(self, strike: Strike, name: str) -> float:
        self._say(f"{name} stands still for {strike.lasts_s:.1f} s")
        async with self._standing_still([name]):
            await asyncio.sleep(strike.lasts_s)
        since_ms = now_ms()
        await self._whole_again(strike, since_ms)
        return (now_ms() - since_ms) / 1_000

    async def _roll(self, strike: Strike) -> float:
        """Restart every node politely, the next once the cluster is whole; return the slowest."""
        names = [f"rabbitmq-{node.number}" for node in self._river.stack.cluster.nodes]
        return max([await self._kill_node(strike, name, signal.SIGTERM) for name in names])

    async def _freeze_ingest(self, strike: Strike) -> float:
        names = [f"ingest-{worker}" for worker in range(INGEST_WORKERS)]
        self._say(f"ingest stands still for {strike.lasts_s:.1f} s")
        async with self._standing_still(names):
            ends = time.monotonic() + strike.lasts_s
            await asyncio.sleep(min(_UNDER_WAY_S, strike.lasts_s / 2))
            before = await self._held()
            await asyncio.sleep(ends - time.monotonic())
            self.held_while_frozen = before, await self._held()
        since_ms = now_ms()
        await self._seen_again(strike, since_ms)
        return (self._witness.seen.at_ms - since_ms) / 1_000

    @asynccontextmanager
    async def _standing_still(self, names: Sequence[str]) -> AsyncIterator[None]:
        """Let processes stand still, unless something else ends them meanwhile."""
        pids = [self._stack.signal(name, signal.SIGSTOP) for name in names]
        try:
            yield
        finally:
            for name, pid in zip(names, pids, strict=True):
                if self._stack.processes.get(name) == pid:
                    self._stack.signal(name, signal.SIGCONT)

    async def _revoke(self) -> float:
        began_ms = now_ms()
        self._say(f"{self._river.guest.name} is revoked")
        await self._river.stack.revoke_hub(self._river.guest.name)
        return (now_ms() - began_ms) / 1_000

    async def _held(self) -> int:
        return sum([await held(self._stack, hub) for hub in self._hubs if not hub.window_s])

    async def _whole_again(self, strike: Strike, since_ms: int) -> None:
        looks = 0
        while looks < _LOOKS:  # a node that has just woken believes for a moment that all is well
            looks = looks + 1 if await self._river.stack.is_whole() else 0
            await asyncio.sleep(_LOOK_EVERY_S)
        await self._seen_again(strike, since_ms)

    async def _leading(self) -> int:
        nodes = self._river.stack.cluster.nodes
        while True:
            if (leader := await self._river.stack.leader(Queue.INGEST)) is not None:
                return nodes.index(leader)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _within_s(self, strike: Strike) -> float:
        if strike.target is not Target.NODE:
            return super()._within_s(strike)
        nodes = len(self._river.ways) if strike.fault is Fault.ROLL else 1
        return strike.lasts_s + nodes * NODE_WITHIN_S

    def _affected(self, strike: Strike) -> list[str]:
        several = strike.target is Target.INGEST or self._way_of_stages(strike) is not None
        if several:
            return [hub.name for hub in self._hubs]
        return super()._affected(strike)

    def _ways(self, strike: Strike) -> Sequence[Link]:
        way = self._way_of_stages(strike)
        return super()._ways(strike) if way is None else (self._river.ways[way],)

    def _name(self, strike: Strike) -> str:
        if (way := self._way_of_stages(strike)) is not None:
            return f"stages' link to rabbitmq-{way + 1}"
        match strike.target:
            case Target.NODE if strike.fault is Fault.ROLL:
                return "every node"
            case Target.NODE:
                return f"rabbitmq-{(self._leader + strike.victim) % len(self._river.ways) + 1}"
            case Target.HUB:
                return self._river.guest.name
            case Target.INGEST if strike.fault is Fault.FREEZE:
                return "ingest"
            case _:
                return super()._name(strike)

    def _way_of_stages(self, strike: Strike) -> int | None:
        """Return which node's link to the stages is meant, None if it is a hub's or no link."""
        number = strike.victim - len(self._hubs)
        return number if strike.target is Target.LINK and number >= 0 else None
