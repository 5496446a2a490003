"""A real RabbitMQ for tests: nodes as processes, certificates, and the topology as shipped."""

import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any, Final

import aio_pika
import aiomqtt
import httpx2
import trustme
from aio_pika.abc import AbstractConnection

from gateway.adapters.rabbitmq import Management, management
from gateway.cluster.files import conf
from headgate.stack.process import Process, Program
from headgate.stack.rabbitmq import ADMIN, Cluster, Node, Tls, cluster
from tests.support.builders import NORTH
from tests.support.servers import rabbitmq
from wire.queues import VHOST, Queue
from wire.topics import Lane

_READERS: Final = {
    "ingest": (Queue.INGEST, Queue.DEAD_LETTERS),
    "detect": (Queue.DETECT, Queue.DETECT_URGENT),
    "alert": (Lane.HIGH,),
    "refresh": (Queue.HEALTH, Lane.MEDIUM),
    "work": (Lane.LOW, Queue.DEAD_JOBS),
}


@dataclass(frozen=True)
class Authority:
    """Who names servers and clients; ``folder`` keeps what it has issued."""

    folder: Path
    ca: trustme.CA

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        """Make a new one."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = cls(folder, trustme.CA(key_type=trustme.KeyType.ECDSA))
        authority.ca.cert_pem.write_to_path(str(authority.root))
        return authority

    @property
    def root(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.crt"

    def home(self, name: str) -> Path:
        """Return where a holder's material lies once it is issued."""
        return self.folder / name

    def issue(self, name: str) -> Tls:
        """Return the material of a client of that common name, or of ``localhost``."""
        home = self.home(name)
        certificate, key = home / "cert.pem", home / "key.pem"
        if not key.exists():
            home.mkdir()
            issued = self.ca.issue_cert(
                "localhost" if name == "localhost" else f"{name}.test.invalid",
                *(["127.0.0.1"] if name == "localhost" else []),
                common_name=name,
                key_type=trustme.KeyType.ECDSA,
            )
            certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
            self.ca.cert_pem.write_to_path(str(home / "trust.pem"))
            issued.private_key_pem.write_to_path(str(key))
        return Tls(self.root, certificate, key)

    def context(self, name: str) -> ssl.SSLContext:
        """Return what a client of that name connects with."""
        tls = self.issue(name)
        context = ssl.create_default_context(cafile=str(tls.authority))
        context.load_cert_chain(tls.certificate, tls.key)
        return context


class Rabbits:
    """A running cluster, of nodes that can be killed, paused and started again."""

    def __init__(self, placed: Cluster, authority: Authority) -> None:
        """Take where it is; nothing runs yet."""
        self.cluster, self.authority = placed, authority
        self._programs = {each.name: each for programs in placed.rounds() for each in programs}
        self._processes: dict[str, Process] = {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Its members."""
        return self.cluster.nodes

    @property
    def management(self) -> str:
        """Where the first node's HTTP API is."""
        return f"http://127.0.0.1:{self.nodes[0].management}"

    @property
    def admin(self) -> tuple[str, str]:
        """Who may use it."""
        return ADMIN, self.cluster.admin_file.read_text()

    def api(self, number: int = 1) -> AbstractAsyncContextManager[Management]:
        """Lend a node's management."""
        url = f"http://127.0.0.1:{self.nodes[number - 1].management}"
        return management(url, *self.admin)

    def leader(self, queue: str, asked: int = 1) -> int:
        """Return the number of the node that leads a queue, as another one sees it."""
        url = f"http://127.0.0.1:{self.nodes[asked - 1].management}/api/queues/{VHOST}/{queue}"
        found = httpx2.get(url, auth=self.admin, trust_env=False).raise_for_status().json()
        return next(node.number for node in self.nodes if node.name == found["leader"])

    def hub(self, name: str, number: int = 1, **options: Any) -> aiomqtt.Client:
        """Return a hub's client with its certificate, not yet connected."""
        settings = {"identifier": name, "timeout": 5, **options}
        context = self.authority.context(name)
        port = self.nodes[number - 1].mqtts
        return aiomqtt.Client("localhost", port, tls_context=context, **settings)

    async def service(self, role: str) -> AbstractConnection:
        """Return a connection as a stage has it."""
        url = f"amqps://localhost:{self.nodes[0].amqps}/{VHOST}?auth=external"
        return await aio_pika.connect(url, ssl_context=self.authority.context(role))

    async def empty(self) -> None:
        """Throw away what lies in the queues."""
        for role, names in _READERS.items():
            async with await self.service(role) as connection:
                channel = await connection.channel()
                for name in names:
                    await (await channel.get_queue(name, ensure=False)).purge()

    def start(self, *numbers: int) -> None:
        """Start nodes, all if none is named, and wait until they serve."""
        named = (tuple(self._programs[f"rabbitmq-{number}"] for number in numbers),)
        for programs in named if numbers else self.cluster.rounds():
            for program in programs:
                self._processes[program.name] = Process(program)
            for program in programs:
                self._wait(program.name)

    def kill(self, number: int) -> None:
        """End a node as a power cut would."""
        process = self._processes.pop(f"rabbitmq-{number}")
        process.signal(SIGKILL)
        process.stop_now()

    def pause(self, number: int) -> None:
        """Freeze a node; its connections stay."""
        self._processes[f"rabbitmq-{number}"].signal(SIGSTOP)

    def resume(self, number: int) -> None:
        """Let a frozen node go on."""
        self._processes[f"rabbitmq-{number}"].signal(SIGCONT)

    def stop(self) -> None:
        """End everything, the nodes first."""
        for name in sorted(self._processes, reverse=True):
            process = self._processes.pop(name)
            process.signal(SIGCONT)
            process.signal(SIGKILL)  # what a test leaves in its queues is nobody's
            process.stop_now()

    def _wait(self, name: str) -> None:
        program, process = self._programs[name], self._processes[name]
        deadline = time.monotonic() + program.ready_within_s
        while not _ready(program, process.pid):
            assert process.returncode is None, program.log.read_text()[-4_000:]
            assert time.monotonic() < deadline, program.log.read_text()[-4_000:]
            time.sleep(0.05)


def _ready(program: Program, pid: int) -> bool:
    step = program.is_ready(pid)
    try:
        step.__await__().send(None)
    except StopIteration as answer:
        return bool(answer.value)
    raise AssertionError("readiness of a node waits for nothing")


@contextmanager
def rabbits(nodes: int, authority: Authority | None = None) -> Iterator[Rabbits]:
    """Start a cluster and declare its topology; it is gone at the end, with all it kept.

    Args:
        nodes: How many.
        authority: Who names everybody; one made for the occasion if None.
    """
    binaries = rabbitmq()
    with tempfile.TemporaryDirectory(prefix="headgate-rabbit-") as scratch:
        authority = authority or Authority.make(Path(scratch, "pki"))
        placed = cluster(
            binaries, Path(scratch, "nodes"), authority.issue("localhost"), nodes=nodes
        )
        placed.create(conf())
        running = Rabbits(placed, authority)
        try:
            running.start()
            _declare(running)
            yield running
        finally:
            running.stop()


def _declare(running: Rabbits) -> None:
    """Declare as an operator does."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "cluster", "declare", "--region", NORTH],
        env={
            **os.environ,
            "HEADGATE_MANAGEMENT_URL": running.management,
            "HEADGATE_MANAGEMENT_PASSWORD_FILE": str(running.cluster.admin_file),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
