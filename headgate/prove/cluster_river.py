"""The river at a cluster: three nodes, hubs by certificate, and a hub to be thrown out.

Each hub has a link of its own to every node and fails over among them by the list it was given;
the stages share a link to every node and fail over likewise. There is no balancer in between.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.prove.link import Link, linked
from headgate.prove.river import INGEST_WORKERS, WINDOW_S, Hub, start_hub
from headgate.stack.cluster import ClusterStack, placed

GUEST: Final = "guest"


@dataclass(frozen=True, slots=True)
class ClusterRiver:
    """Everything there is to be broken.

    Attributes:
        stack: Its processes.
        hubs: Those that stay.
        guest: The one to be revoked.
        ways: The stages' link to each node, in the nodes' order.
    """

    stack: ClusterStack
    hubs: list[Hub]
    guest: Hub
    ways: tuple[Link, ...]


@asynccontextmanager
async def cluster_with_hubs(
    home: Path, hubs: int, tell: Callable[[str], None]
) -> AsyncIterator[ClusterRiver]:
    """Start the platform at a cluster, and hubs; every second hub has windows.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    async with AsyncExitStack() as exits:

        async def links(ports: Sequence[int]) -> tuple[Link, ...]:
            return tuple([await exits.enter_async_context(linked(port)) for port in ports])

        nodes = placed(home)
        # Links end after the stack, whose stages let go of them first.
        ways = await links([node.amqps for node in nodes.nodes])
        stack = ClusterStack(
            home,
            nodes,
            ways=[way.port for way in ways],
            ingest_workers=INGEST_WORKERS,
            any_ports=True,
            tell=tell,
        )
        doors = [node.mqtts for node in nodes.nodes]
        reach = [await links(doors) for _ in range(hubs + 1)]
        await exits.enter_async_context(stack)
        started = [
            await start_hub(stack, f"hub-{number + 1}", WINDOW_S * (number % 2), _from(way, number))
            for number, way in enumerate(reach[:hubs])
        ]
        guest = await start_hub(stack, GUEST, 0, reach[hubs], is_guest=True)
        yield ClusterRiver(stack, started, guest, ways)


def _from(ways: tuple[Link, ...], first: int) -> tuple[Link, ...]:
    """Return the ways in an order of each hub's own, as an operator spreads hubs."""
    first %= len(ways)
    return ways[first:] + ways[:first]
