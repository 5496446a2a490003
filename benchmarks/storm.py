"""Do 1,000 hubs come back within a minute of their broker's death, and alerts stay fast?

python -m benchmarks.storm [--hubs 1000] [--seconds 15] [--json]
Hubs with certificates of their own stand at one RabbitMQ node, which is killed and started again.
Each comes back by full jitter; it has returned when the store answers it. Every tenth then meets a
contamination at once, in the middle of the storm, and its alert is timed from the batch sent to
the WebSocket. At last one hub is revoked while all others flow. The last line is the verdict as
JSON; exit status 1 unless all held and nothing was lost.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import websockets

from benchmarks.storm_hubs import ROWS, StormHub
from certs.authority import holders
from certs.authority.pki import opened
from certs.core.profile import Role
from certs.tls import client_context
from gateway.adapters.rabbitmq import management
from gateway.cluster.files import permission, region_definitions, topic_permission, user
from gateway.cluster.topology import hub_rights
from headgate.prove.account import NOTHING_LOST
from headgate.stack.cluster import ClusterStack, placed
from headgate.stack.errors import StackError
from headgate.stack.rabbitmq import ADMIN, Cluster
from tests.support.builders import NORTH
from tests.support.wait import until
from wire.clock import SystemClock
from wire.ids import HubId

RETURN_WITHIN_S: Final = 60.0
ALERT_WITHIN_MS: Final = 300.0
REVOKED_WITHIN_S: Final = 60.0
ALERTS_WITHIN_S: Final = 30.0
NODE_WITHIN_S: Final = 180.0
FIRST_WITHIN_S: Final = 240.0
ARRIVE_PER_S: Final = 25.0  # to begin with: they are no storm yet
DRAIN_WITHIN_S: Final = 120.0
NODE: Final = "rabbitmq-1"
_AT_ONCE: Final = 100
_HISTORY_MS: Final = 3_600_000


@dataclass(slots=True)
class Storm:
    """What happened, and when on the monotonic clock.

    Attributes:
        first_s: How long until all hubs had connected for the first time.
        died_s: When the node was killed; None before.
        served_s: When it served again.
        returned_s: When each hub returned.
        sent_ns: When the batch of each contaminated sensor went out, Unix ns.
        came_ns: When the alert of each sensor came, Unix ns.
        cut_s: How long the revoked hub kept its connection; None if it was never cut off.
        wrong: What did not happen in time, in words.
    """

    first_s: float = 0.0
    died_s: float | None = None
    served_s: float = 0.0
    returned_s: dict[HubId, float] = field(default_factory=dict)
    sent_ns: dict[int, int] = field(default_factory=dict)
    came_ns: dict[int, int] = field(default_factory=dict)
    cut_s: float | None = None
    wrong: list[str] = field(default_factory=list)

    def on_return(self, hub: StormHub) -> None:
        """Note a hub that came back; every tenth meets a contamination."""
        if self.died_s is None or hub.name in self.returned_s:
            return
        self.returned_s[hub.name] = time.monotonic()
        if hub.number % 10 == 0:
            self.sent_ns[hub.sensor_id] = hub.contaminate()

    @property
    def late_s(self) -> list[float]:
        """How long after the node served each hub was back, the first first."""
        return sorted(max(0.0, each - self.served_s) for each in self.returned_s.values())

    @property
    def alerts_ms(self) -> list[float]:
        """How long each alert took, the fastest first."""
        timed = self.sent_ns.keys() & self.came_ns.keys()
        return sorted((self.came_ns[each] - self.sent_ns[each]) / 1e6 for each in timed)

    async def expect(self, what: str, condition: Callable[[], bool], within_s: float) -> None:
        """Wait for it; what is not there in time is wrong."""
        try:
            await until(condition, within_s=within_s, poll_s=0.05)
        except AssertionError:
            self.wrong.append(f"not within {within_s:.0f} s: {what}")


async def measure(
    count: int, seconds: float, home: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return the verdict of one storm whose data lie in ``home``.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    storm = Storm()
    async with ClusterStack(home, _one_node(home), any_ports=True) as stack:
        tell(f"letting {count} hubs in")
        hubs = await _let_in(stack, count, storm)
        async with _running(stack, hubs, storm):
            await _first(hubs, storm)
            tell(f"all connected after {storm.first_s:.1f} s")
            await asyncio.sleep(seconds)
            await _kill(stack, storm)
            await _return(hubs, storm)
            tell(f"{len(storm.returned_s)} hubs are back")
            await _revoke(stack, hubs, storm)
            staying = hubs[:-1]
            await _drain(staying, storm)
        stored = await _stored(stack)
    return _verdict(storm, staying, stored)


async def _first(hubs: Sequence[StormHub], storm: Storm) -> None:
    began_s = time.monotonic()
    await storm.expect("all hubs connected", lambda: all(hub.links for hub in hubs), FIRST_WITHIN_S)
    storm.first_s = time.monotonic() - began_s


async def _kill(stack: ClusterStack, storm: Storm) -> None:
    """Kill the node; return once another serves in its place."""
    storm.died_s, killed = time.monotonic(), stack.kill(NODE)

    def serves() -> bool:
        return stack.processes.get(NODE) not in (None, killed) and stack.serves(NODE)

    await storm.expect("the node serves again", serves, NODE_WITHIN_S)
    storm.served_s = time.monotonic()


async def _return(hubs: Sequence[StormHub], storm: Storm) -> None:
    await storm.expect(
        "all hubs returned", lambda: len(storm.returned_s) == len(hubs), RETURN_WITHIN_S
    )
    await storm.expect(
        "all alerts", lambda: storm.sent_ns.keys() <= storm.came_ns.keys(), ALERTS_WITHIN_S
    )


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


def _verdict(storm: Storm, hubs: Sequence[StormHub], stored: Mapping[int, int]) -> dict[str, Any]:
    late_s, alerts_ms = storm.late_s, storm.alerts_ms
    sent = sum(hub.sealed for hub in hubs) * ROWS
    kept = sum(stored.get(hub.sensor_id, 0) for hub in hubs)
    wrong = [*storm.wrong, *([f"{sent - kept} readings not stored"] if sent != kept else [])]
    if not alerts_ms or alerts_ms[-1] > ALERT_WITHIN_MS:
        wrong.append("an alert was late" if alerts_ms else "no alert")
    return {
        "hubs": len(hubs) + 1,
        "first_connected_s": round(storm.first_s, 1),
        "node_away_s": round(storm.served_s - (storm.died_s or storm.served_s), 1),
        "returned_s_p50": _at(late_s, 0.5),
        "returned_s_max": _at(late_s, 1.0),
        "alerts": len(alerts_ms),
        "alert_ms_p50": _at(alerts_ms, 0.5),
        "alert_ms_p99": _at(alerts_ms, 0.99),
        "alert_ms_max": _at(alerts_ms, 1.0),
        "revoked_cut_s": None if storm.cut_s is None else round(storm.cut_s, 1),
        "readings_sent": sent,
        "readings_stored": kept,
        "verdict": ", ".join(wrong) or NOTHING_LOST,
    }


def _at(rising: Sequence[float], share: float) -> float | None:
    """Return the value below which that share lies."""
    return round(rising[min(len(rising) - 1, int(share * len(rising)))], 1) if rising else None


# how it comes up


def _one_node(home: Path) -> Cluster:
    three = placed(home)
    return replace(three, nodes=three.nodes[:1])


async def _let_in(stack: ClusterStack, count: int, storm: Storm) -> list[StormHub]:
    """Give every hub a certificate and its rights, many at a time."""
    names = [HubId(f"storm-{number}") for number in range(count)]
    folders = await asyncio.to_thread(_issue, stack.home.root, names)
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
        running.append(tasks.create_task(_follow_alerts(stack.api_url, storm), name="alerts"))
        yield
        for task in running:
            task.cancel()


async def _follow_alerts(api_url: str, storm: Storm) -> None:
    async for socket in websockets.connect(f"{api_url.replace('http', 'ws', 1)}/api/ws/alerts"):
        with suppress(websockets.ConnectionClosed):
            async for message in socket:
                came_ns, told = time.time_ns(), json.loads(message)
                for alert in told.get("alerts", [told.get("alert", told)]):
                    storm.came_ns.setdefault(int(alert["sensor_id"]), came_ns)


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
    told = (lambda line: None) if asked.json else print
    with tempfile.TemporaryDirectory(prefix="headgate-storm-", ignore_cleanup_errors=True) as home:
        try:
            found = asyncio.run(measure(asked.hubs, asked.seconds, Path(home), told))
        except StackError as exc:
            sys.stderr.write(f"storm: {exc.args[0]}\n  -> {exc.hint}\n")
            found = {"verdict": f"no verdict: {exc.args[0]}"}
    print(json.dumps(found))
    return 0 if found["verdict"] == NOTHING_LOST else 1


if __name__ == "__main__":
    raise SystemExit(main())
