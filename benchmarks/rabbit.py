"""One RabbitMQ node as benches use it: our certificates, our topology, and one who may flood it.

Batches come over a single AMQPS connection that may speak for every hub, so a thousand hubs need no
thousand sessions; what ingest takes from the queue is the same. Its receipts are read and counted.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.limit import NORTH, bodies
from certs.authority import holders, rotate
from certs.authority.pki import opened
from certs.core.profile import Role
from cloud.adapters.amqp import Amqp, Broker, connected
from gateway.adapters.rabbitmq import management
from gateway.cluster.files import Definitions, conf, definitions, permission, topic_permission, user
from gateway.cluster.service import declare
from gateway.cluster.topology import Rights
from headgate.stack.network import talks_to
from headgate.stack.process import Program
from headgate.stack.programs import command, environment
from headgate.stack.rabbitmq import ADMIN, Cluster, Tls, cluster, find
from headgate.stack.stack import Stack, together
from wire.clock import SystemClock
from wire.codec import open_wire
from wire.control import decode_receipt
from wire.ids import HubId
from wire.limits import MIB
from wire.queues import TOPICS, VHOST, Queue
from wire.ranges import Ranges, count, union
from wire.topics import Channel, parse, topic

FLOOD: Final = "bench"
RECEIPTS: Final = "bench.receipts"
NODE: Final = "rabbitmq-1"
_PUBLISHED_AT_ONCE: Final = 256
_RECEIPTS_WITHIN_S: Final = 60.0
_UNREAD: Final = (Queue.DETECT, Queue.HEALTH)
_PROFILED: Final = """\
import cProfile, runpy, sys, time
import cloud.adapters.amqp, cloud.run.ingest, cloud.run.service  # starting is not the question
profile, into = cProfile.Profile(time.thread_time), sys.argv[1]
sys.argv = ["cloud", "ingest"]
profile.enable()
try:
    runpy.run_module("cloud", run_name="__main__", alter_sys=True)
finally:
    profile.disable()
    profile.dump_stats(into)
"""
_RECEIPTS_BYTES_MAX: Final = 64 * MIB
_UNREAD_BYTES_MAX: Final = 1 * MIB


@dataclass(slots=True)
class Rabbit:
    """A running node, with its topology declared: a ``Course``."""

    stack: Stack
    placed: Cluster
    pki: Path
    flood: Amqp
    received: dict[HubId, Ranges] = field(default_factory=lambda: defaultdict(tuple))

    def worker(self, number: int, workers: int) -> Program:
        """See ``Course``."""
        return self._worker(f"{number}/{workers}", command("cloud", "ingest"))

    def profiled(self, into: Path) -> Program:
        """Return a single worker that writes where its loop's CPU went, as ``cProfile`` does."""
        return self._worker("0/1", (sys.executable, "-P", "-c", _PROFILED, str(into)))

    async def fill(self, batches: int, workers: int) -> None:
        """See ``Course``."""
        self.received.clear()
        await self.publish(await asyncio.to_thread(bodies, batches))

    async def settled(self, batches: int) -> None:
        """See ``Course``. What has its receipt is acknowledged before a worker goes.

        Raises:
            TimeoutError: Receipts are missing.
        """
        async with asyncio.timeout(_RECEIPTS_WITHIN_S):
            while sum(map(count, self.received.values())) < batches:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def publish(self, batches: Sequence[bytes]) -> None:
        """Put batches into the queue; on return the broker has confirmed each."""
        for first in range(0, len(batches), _PUBLISHED_AT_ONCE):
            hubs = (
                (open_wire(each).seal.key.hub_id, each)
                for each in batches[first:][:_PUBLISHED_AT_ONCE]
            )
            await self.flood.publish(
                [(topic(NORTH, hub, Channel.BATCH), each) for hub, each in hubs]
            )

    async def listen(self) -> None:
        """Read receipts until cancelled."""
        async for burst in self.flood.deliveries():
            for message in burst:
                hub_id = parse(message.topic).hub_id
                told = decode_receipt(message.body).received
                self.received[hub_id] = union(self.received[hub_id], told)
                await message.ack()

    def _worker(self, share: str, argv: tuple[str, ...]) -> Program:
        stack, amqps = self.stack, self.placed.nodes[0].amqps
        name = "ingest" if share.endswith("/1") else f"ingest-{share[0]}"

        async def ready(pid: int) -> bool:
            return talks_to(pid, stack.ports.postgres, amqps)

        return Program(
            name=name,
            argv=argv,
            env=environment(
                stack.home,
                HEADGATE_DATABASE_URL=stack.database_url,
                HEADGATE_BROKER_URL=f"amqps://localhost:{amqps}",
                HEADGATE_BROKER_TLS=str(_folder(self.pki, "ingest")),
                HEADGATE_SHARE=share,
            ),
            log=stack.home.logs / f"{name}.log",
            is_ready=ready,
        )


@asynccontextmanager
async def rabbit(stack: Stack) -> AsyncIterator[Rabbit]:
    """Start a node beside a stack, declare everything, and lend it."""
    home = stack.home.root / "cluster"
    tls = _certified(home)
    placed = await node(stack, home / "nodes", tls, conf())
    url = f"http://127.0.0.1:{placed.nodes[0].management}"
    async with management(url, ADMIN, placed.admin_file.read_text()) as api:
        await declare(api, [NORTH])
        await api.define(_flooder() | _capped())
    mine = _folder(home / "pki", FLOOD)
    broker = Broker.read(
        f"amqps://localhost:{placed.nodes[0].amqps}",
        *(mine / name for name in ("trust.pem", "cert.pem", "key.pem")),
    )
    async with connected(broker, (RECEIPTS,), SystemClock()) as flood, asyncio.TaskGroup() as group:
        lent = Rabbit(stack, placed, home / "pki", flood)
        listening = group.create_task(lent.listen(), name="receipts")
        yield lent
        listening.cancel()


async def node(stack: Stack, folder: Path, tls: Tls, settings: str) -> Cluster:
    """Start one node as part of a stack and return where it is.

    Raises:
        StackError: There is no RabbitMQ here, or it does not start.
    """
    placed = cluster(find(), folder, tls, nodes=1)
    placed.create(settings)
    for programs in placed.rounds():
        await together(*map(stack.start, programs))
    return placed


def certificate(home: Path) -> Tls:
    """Return the material of a broker on this machine, from a PKI made in ``home``."""
    with opened(home, now_ms=SystemClock().now_ms()) as pki:
        rotate.establish(pki)
        issued = holders.issue(pki, Role.SERVER, "localhost", dns=["localhost"], ip=["127.0.0.1"])
        return Tls(pki.trust_file, issued.folder / "cert.pem", issued.folder / "key.pem")


def _certified(home: Path) -> Tls:
    home.mkdir(mode=0o700)
    tls = certificate(home)
    with opened(home, now_ms=SystemClock().now_ms()) as pki:
        for name in ("ingest", FLOOD):
            holders.issue(pki, Role.SERVICE, name)
    return tls


def _folder(pki: Path, name: str) -> Path:
    return pki / "services" / name / "current"


def _flooder() -> Definitions:
    """Return a user that may speak for every hub, and the queue its receipts come to."""
    rights = Rights(
        write=r"\Aamq\.topic\z", read=r"\Abench\.receipts\z", publish=r"\Aheadgate\.1\..*\z"
    )
    return {
        "users": [user(FLOOD)],
        "permissions": [permission(FLOOD, rights)],
        "topic_permissions": [topic_permission(FLOOD, rights)],
        "queues": [
            {
                "name": RECEIPTS,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-max-length-bytes": _RECEIPTS_BYTES_MAX},
            }
        ],
        "bindings": [
            {
                "source": TOPICS,
                "vhost": VHOST,
                "destination": RECEIPTS,
                "destination_type": "queue",
                "routing_key": f"headgate.1.*.*.{Channel.RECEIPT}",
                "arguments": {},
            }
        ],
    }


def _capped() -> Definitions:
    """Return policies that keep next to nothing for stages that do not run here."""
    policies = [each for each in definitions([NORTH])["policies"] if each["name"] in _UNREAD]
    for each in policies:
        each["definition"] |= {"max-length-bytes": _UNREAD_BYTES_MAX}
    return {"policies": policies}
