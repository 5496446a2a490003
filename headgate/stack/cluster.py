"""The platform at a RabbitMQ cluster of its own: the same stages, other neighbours.

Keys come from the small PKI in the data directory, the topology and every hub's rights from
``gateway cluster``, as on a cluster in earnest.
"""

import asyncio
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from certs.authority import holders, rotate
from certs.authority.pki import opened
from certs.core.ledger import Reason
from certs.core.profile import Role
from headgate.stack.enrolment import check_names, hub_folder, write_config
from headgate.stack.errors import StackError
from headgate.stack.layout import Home
from headgate.stack.process import run_once
from headgate.stack.programs import STAGES, Broker, command, environment, fetch
from headgate.stack.rabbitmq import ADMIN, Cluster, Node, Tls, cluster, find
from headgate.stack.stack import Stack, together
from wire.clock import SystemClock
from wire.queues import VHOST

NODES: Final = 3
_SERVER: Final = "rabbitmq"
_DECLARE_WITHIN_S: Final = 60.0
_MEMBERS: Final = "nodes?columns=name,running,partitions"


def placed(home: Path) -> Cluster:
    """Return three nodes that keep everything below ``home``, on ports that are free just now.

    Raises:
        StackError: There is no RabbitMQ on this machine.
    """
    pki = home.absolute() / "pki"
    own = pki / "servers" / _SERVER / "current"
    tls = Tls(pki / "trust.pem", own / "cert.pem", own / "key.pem")
    return cluster(find(), home.absolute() / "rabbitmq", tls, nodes=NODES)


class ClusterStack(Stack):
    """A stack whose broker is a RabbitMQ cluster.

    Its nodes are processes like the others, ``rabbitmq-1`` and so on: whatever ends one, it is
    started again. Nothing here needs all of them, but starting does.
    """

    def __init__(
        self, home: Path, nodes: Cluster, *, ways: Sequence[int] = (), **options: Any
    ) -> None:
        """Describe the stack; nothing runs before ``async with``.

        Args:
            home: Its data directory; made if missing.
            nodes: From ``placed``.
            ways: Ports through which stages reach the nodes; none: the nodes' own.
            options: As of ``Stack``.
        """
        super().__init__(home, **options)
        self.cluster = nodes
        self._ways = tuple(ways) or tuple(node.amqps for node in nodes.nodes)

    def uplink_url(self, *ports: int) -> str:
        """See ``Stack``. The hub tries one after the other."""
        return f"mqtts://{','.join(f'localhost:{port}' for port in ports)}"

    async def enrol_hub(
        self, hub_id: str, region: str, *, folder: Path | None = None, **overrides: Any
    ) -> Path:
        """Give a hub a certificate, let it in, and return its ``edge.toml``. Idempotent.

        Raises:
            StackError: The names are not names, or no node answers.
        """
        check_names(hub_id, region)
        folder = hub_folder(self.home, hub_id, folder)
        certificate = await asyncio.to_thread(_issue, self.home, hub_id)
        await self._manage("enrol", hub_id, "--region", region)
        url = self.uplink_url(*(node.mqtts for node in self.cluster.nodes))
        uplink = {"url": url, "certificate_dir": str(certificate)}
        return write_config(folder, self.facts, hub_id, region, uplink, overrides)

    async def revoke_hub(self, hub_id: str) -> None:
        """Take back a hub's certificates and throw it out of the cluster. Idempotent.

        Raises:
            StackError: It may be half done; say it again.
        """
        await asyncio.to_thread(_revoke, self.home, hub_id)
        await self._manage("revoke", hub_id)

    async def leader(self, queue: str) -> Node | None:
        """Return the node that leads a queue, as the first to answer sees it; None if unknown."""
        for node in self.cluster.nodes:
            if found := await self._ask(node, f"queues/{VHOST}/{queue}"):
                name = json.loads(found).get("leader")
                return next((each for each in self.cluster.nodes if each.name == name), None)
        return None

    async def is_whole(self) -> bool:
        """Return whether every node is there, with all the others, and may go without harm."""
        for node in self.cluster.nodes:
            seen = json.loads(await self._ask(node, _MEMBERS) or "[]")
            if len(seen) < len(self.cluster.nodes) or not all(map(_is_well, seen)):
                return False
            if await self._ask(node, "health/checks/node-is-quorum-critical") is None:
                return False
        return True

    def _broker(self) -> Broker:
        nodes = ",".join(f"localhost:{port}" for port in self._ways)
        return Broker(
            self._ways,
            lambda role: {
                "HEADGATE_BROKER_URL": f"amqps://{nodes}",
                "HEADGATE_BROKER_TLS": str(_current(self.home, "services", role)),
            },
        )

    async def _start_broker(self) -> None:
        await asyncio.to_thread(_found, self.home)
        files = self.home.root / "topology"
        await self._gateway("files", str(files))
        self.cluster.create((files / "rabbitmq.conf").read_text())
        for programs in self.cluster.rounds():
            # They outlive who talks to them, and end as a power cut would: that is what they stand.
            await together(
                *(
                    self.start(replace(each, carries_others=True, stop_signal=signal.SIGKILL))
                    for each in programs
                )
            )
        await self._manage("declare")
        self._tell(f"RabbitMQ on {', '.join(str(node.amqps) for node in self.cluster.nodes)}")

    async def _manage(self, *words: str) -> None:
        """Say something to the first node that does it."""
        failures = []
        for node in self.cluster.nodes:
            try:
                return await self._gateway(*words, node=node)
            except StackError as exc:
                failures.append(exc)
        raise failures[-1]

    async def _gateway(self, *words: str, node: Node | None = None) -> None:
        place = {"HEADGATE_MANAGEMENT_PASSWORD_FILE": str(self.cluster.admin_file)}
        if node is not None:
            place["HEADGATE_MANAGEMENT_URL"] = f"http://127.0.0.1:{node.management}"
        settings = environment(self.home, **place)
        await run_once(command("gateway", "cluster", *words), settings, within_s=_DECLARE_WITHIN_S)

    async def _ask(self, node: Node, path: str) -> bytes | None:
        account = f"{ADMIN}:{self.cluster.admin_file.read_text().strip()}"
        return await fetch(node.management, f"/api/{path}", account)


def _found(home: Home) -> None:
    """Make the authority, and a certificate for the nodes and for every stage. Idempotent."""
    with opened(home.root, now_ms=SystemClock().now_ms()) as pki:
        rotate.establish(pki)
        holders.issue(pki, Role.SERVER, _SERVER, dns=["localhost"], ip=["127.0.0.1"])
        for role in STAGES:
            holders.issue(pki, Role.SERVICE, role)


def _issue(home: Home, hub_id: str) -> Path:
    """Return the folder of a hub's certificate in force."""
    with opened(home.root, now_ms=SystemClock().now_ms()) as pki:
        return holders.issue(pki, Role.HUB, hub_id).folder


def _revoke(home: Home, hub_id: str) -> None:
    with opened(home.root, now_ms=SystemClock().now_ms()) as pki:
        holders.revoke(pki, Role.HUB, hub_id, Reason.KEY_COMPROMISE)


def _is_well(node: Mapping[str, Any]) -> bool:
    return bool(node["running"]) and not node.get("partitions")


def _current(home: Home, kind: str, name: str) -> Path:
    return home.root / "pki" / kind / name / "current"
