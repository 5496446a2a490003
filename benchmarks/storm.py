"""Do 1,000 hubs come back within a minute of their broker's death, and alerts stay fast?

python -m benchmarks.storm [--hubs 1000] [--seconds 15] [--json]
Hubs with certificates of their own stand at one RabbitMQ node, which is killed and started again.
Each comes back by full jitter; it has returned when the store answers it. Every tenth then meets a
contamination at once, in the middle of the storm, and its alert is timed from the evidence sent to
a WebSocket's other end. At last one hub is revoked while all others flow. Every wait has its limit,
about fifteen minutes in all. The last line is the verdict as JSON; exit status 1 unless all held
and nothing was lost.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from benchmarks.proof import Tell, shown
from benchmarks.storm_alerts import heard
from benchmarks.storm_hubs import StormHub
from benchmarks.storm_verdict import Storm, verdict
from certs.authority import holders
from certs.authority.pki import opened
from certs.core.profile import Role
from certs.tls import client_context
from gateway.adapters.rabbitmq import management
from gateway.cluster.files import permission, region_definitions, topic_permission, user
from gateway.cluster.topology import hub_rights
from headgate.stack.cluster import ClusterStack, placed
from headgate.stack.errors import StackError
from headgate.stack.rabbitmq import ADMIN, Cluster
from tests.support.builders import NORTH
from wire.clock import SystemClock
from wire.ids import HubId

LOOK_FOR_S: Final = 240.0  # to see when the last is back, should it be late
REVOKED_WITHIN_S: Final = 60.0
ALERTS_WITHIN_S: Final = 30.0
NODE_WITHIN_S: Final = 180.0
FIRST_WITHIN_S: Final = 240.0
ARRIVE_PER_S: Final = 25.0  # to begin with: they are no storm yet
DRAIN_WITHIN_S: Final = 120.0
NODE: Final = "rabbitmq-1"
_AT_ONCE: Final = 100
_HISTORY_MS: Final = 3_600_000


async def measure(count: int, seconds: float, home: Path, tell: Tell) -> dict[str, Any]:
    """Return the verdict of one storm whose data lie in ``home``.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    storm = Storm(tell)
    async with ClusterStack(home, _one_node(home), any_ports=True) as stack:
        tell(f"letting {count} hubs in")
        hubs = await _let_in(stack, count, storm)
        async with _running(stack, hubs, storm):
            await _first(hubs, storm)
            tell(f"all connected after {storm.first_s:.1f} s")
            await asyncio.sleep(seconds)
            await _kill(stack, storm)
            await _return(stack, hubs, storm)
            await _revoke(stack, hubs, storm)
            staying = hubs[:-1]
            await _drain(staying, storm)
        stored = await _stored(stack)
    return verdict(storm, staying, stored)


async def _first(hubs: Sequence[StormHub], storm: Storm) -> None:
    began_s = time.monotonic()
    await storm.expect(
        "all hubs are connected",
        lambda: all(hub.links for hub in hubs),
        FIRST_WITHIN_S,
        lambda: f"{sum(bool(hub.links) for hub in hubs)} of {len(hubs)}",
    )
    storm.first_s = time.monotonic() - began_s


async def _kill(stack: ClusterStack, storm: Storm) -> None:
    """Kill the node; return once another serves in its place."""
    storm.cpu_s = _cpu_s(stack) | {NODE: 0.0}  # it will be another process
    storm.died_s, killed = time.monotonic(), stack.kill(NODE)

    def serves() -> bool:
        return stack.processes.get(NODE) not in (None, killed) and stack.serves(NODE)

    await storm.expect("the node serves again", serves, NODE_WITHIN_S)
    storm.served_s = time.monotonic()
    storm.tell(f"the node serves again after {storm.served_s - storm.died_s:.1f} s")


async def _return(stack: ClusterStack, hubs: Sequence[StormHub], storm: Storm) -> None:
    await storm.expect(
        "all hubs are back",
        lambda: len(storm.returned_s) == len(hubs),
        LOOK_FOR_S,
        lambda: f"{len(storm.returned_s)} of {len(hubs)}",
    )
    before = storm.cpu_s
    storm.cpu_s = {name: each - before.get(name, 0.0) for name, each in _cpu_s(stack).items()}
    storm.tell(f"{len(storm.returned_s)} hubs are back, the last after {storm.late_s[-1:]} s")
    await storm.expect(
        "all alerts are there",
        lambda: storm.sent_ns.keys() <= storm.came_ns.keys(),
        ALERTS_WITHIN_S,
    )
    storm.tell(f"{len(storm.alerts_ms)} alerts, the slowest {storm.alerts_ms[-3:]} ms")


def _cpu_s(stack: ClusterStack) -> dict[str, float]:
    return stack.cpu_seconds() | {"the hubs": time.process_time()}


async def _revoke(stack: ClusterStack, hubs: Sequence[StormHub], storm: Storm) -> None:
    """Throw the last hub out while all others flow."""
    gone, others = hubs[-1], hubs[:-1]
    began_s = time.monotonic()
    try:
        await stack.revoke_hub(gone.name)
    except StackError as exc:
        storm.wrong.append(f"not revoked: {exc.args[0]}")
    await storm.expect(
        "the revoked hub is cut off", lambda: not gone.is_connected, REVOKED_WITHIN_S
    )
    if not gone.is_connected:
        storm.cut_s = time.monotonic() - began_s
    wanted = sum(hub.receipts for hub in others) + len(others) // 2
    await storm.expect(
        "the others flow", lambda: sum(hub.receipts for hub in others) > wanted, REVOKED_WITHIN_S
    )
    if gone.is_connected:
        storm.wrong.append("the revoked hub came back")


async def _drain(hubs: Sequence[StormHub], storm: Storm) -> None:
    """Seal no more; wait until every batch has its receipt."""
    for hub in hubs:
        hub.is_over = True
    await storm.expect(
        "every batch receipted", lambda: not any(hub.held for hub in hubs), DRAIN_WITHIN_S
    )


# how it comes up


def _one_node(home: Path) -> Cluster:
    three = placed(home)
    return replace(three, nodes=three.nodes[:1])


async def _let_in(stack: ClusterStack, count: int, storm: Storm) -> list[StormHub]:
    """Give every hub a certificate and its rights, many at a time."""
    names = [HubId(f"storm-{number}") for number in range(count)]
    folders = await asyncio.to_thread(_issue, stack.home.root, names)
    storm.tell(f"{count} certificates are issued")
    node = stack.cluster.nodes[0]
    url, password = f"http://127.0.0.1:{node.management}", stack.cluster.admin_file.read_text()
    async with management(url, ADMIN, password.strip()) as api:
        await api.define(region_definitions(NORTH))
        for first in range(0, count, _AT_ONCE):
            some = [(name, hub_rights(NORTH, name)) for name in names[first : first + _AT_ONCE]]
            rules = [topic_permission(*each) for each in some]
            await api.define(
                {"users": [user(name) for name, _ in some], "topic_permissions": rules}
            )
            await api.define({"permissions": [permission(*each) for each in some]})
    storm.tell(f"{count} hubs have their rights")
    start_ms = SystemClock().now_ms() - _HISTORY_MS
    return [
        StormHub(
            *(number, name, node.mqtts, client_context(folder / "trust.pem", identity=folder)),
            *(start_ms, storm.on_return),
        )
        for number, (name, folder) in enumerate(zip(names, folders, strict=True))
    ]


def _issue(home: Path, names: Sequence[HubId]) -> list[Path]:
    with opened(home, now_ms=SystemClock().now_ms()) as pki:
        return [holders.issue(pki, Role.HUB, name).folder for name in names]


@asynccontextmanager
async def _running(
    stack: ClusterStack, hubs: Sequence[StormHub], storm: Storm
) -> AsyncIterator[None]:
    """Run the hubs, and listen for alerts."""
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(hub.run(hub.number / ARRIVE_PER_S), name=hub.name) for hub in hubs
        ]
        async with heard(stack.api_url, storm.on_alert):
            yield
        for task in running:
            task.cancel()


async def _stored(stack: ClusterStack) -> dict[int, int]:
    """Return how many readings of each sensor are stored."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        rows = await connection.fetch(
            "select sensor_id, count(*) from sensor_readings group by sensor_id"
        )
    finally:
        await connection.close()
    return {row["sensor_id"]: row["count"] for row in rows}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return 0 if all held."""
    parser = argparse.ArgumentParser(prog="storm", description="every hub comes back at once")
    parser.add_argument("--hubs", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of flow before the storm")
    parser.add_argument("--json", action="store_true", help="print the last line only")
    asked = parser.parse_args(arguments)
    uvloop.install()  # as a hub's agent does
    return shown(
        "storm",
        lambda home, tell: measure(asked.hubs, asked.seconds, home, tell),
        as_json=asked.json,
    )


if __name__ == "__main__":
    raise SystemExit(main())
