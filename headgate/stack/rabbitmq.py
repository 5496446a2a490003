"""RabbitMQ nodes of our own as ordinary processes: no root, no service, nothing shared.

What the broker carries is not decided here: the common part of its configuration is a text the
caller brings, and this module adds where a node listens and keeps its things.
"""

import os
import platform
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.stack.errors import StackError
from headgate.stack.network import free_port, listens
from headgate.stack.postgres import write_secret
from headgate.stack.process import Program

ADMIN: Final = "headgate-admin"
PLUGINS: Final = ("rabbitmq_management", "rabbitmq_mqtt", "rabbitmq_auth_mechanism_ssl")
_SERVER: Final = "usr/lib/rabbitmq/bin/rabbitmq-server"
_ERLANG: Final = "usr/lib/erlang"
_READY_WITHIN_S: Final = 300.0  # nodes that come back together wait 100 s for each other, or twice
_STOP_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """RabbitMQ and the Erlang beneath it.

    Attributes:
        root: ``/`` for the system's own, else the folder Debian's packages are unpacked in.
    """

    root: Path

    @property
    def server(self) -> Path:
        """What starts a node."""
        return self.root / _SERVER

    @property
    def epmd(self) -> Path:
        """The name server through which nodes find each other."""
        return next((self.root / _ERLANG).glob("erts-*/bin/epmd"))

    @property
    def there(self) -> bool:
        """Whether both are installed."""
        return self.server.exists() and any((self.root / _ERLANG).glob("erts-*/bin/epmd"))

    def environment(self) -> dict[str, str]:
        """Return what its scripts and libraries are found by."""
        path = f"{self.root / _ERLANG / 'bin'}:{os.defpath}"
        return {"PATH": path, "LC_ALL": "C.UTF-8", **libraries(self.root)}


@dataclass(frozen=True, slots=True)
class Tls:
    """A server's key material, as files.

    Attributes:
        authority: Whom it trusts to name clients, PEM.
        certificate: Its own chain, PEM.
        key: Its private key, PEM.
    """

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Node:
    """One member of a cluster.

    Attributes:
        number: From 1; gives it its name.
        amqps: Where services connect.
        mqtts: Where hubs connect.
        management: Where the HTTP API listens.
        distribution: Where the other nodes connect.
    """

    number: int
    amqps: int
    mqtts: int
    management: int
    distribution: int

    @property
    def name(self) -> str:
        """What the other nodes know it by."""
        return f"r{self.number}@localhost"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes on this machine's loopback interface. Nothing here runs yet.

    Attributes:
        binaries: What to run.
        folder: Everything they keep; ours alone.
        tls: What every node shows and trusts.
        epmd: The port of their name server.
        nodes: At least one.
    """

    binaries: Binaries
    folder: Path
    tls: Tls
    epmd: int
    nodes: tuple[Node, ...]

    @property
    def admin_file(self) -> Path:
        """Holds the password of ``ADMIN``, who may manage everything and is served no data."""
        return self.folder / "admin"

    def create(self, settings: str) -> None:
        """Write every file the nodes read; what they keep stays. Idempotent.

        Args:
            settings: The part of ``rabbitmq.conf`` all nodes share.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for path in (self.admin_file, self.folder / ".erlang.cookie"):
            if not path.exists():
                write_secret(path, secrets.token_hex(24))
        plugins = f"[{','.join(PLUGINS)}].\n"
        for node in self.nodes:
            home = self._home(node)
            (home / "conf.d").mkdir(parents=True, exist_ok=True)
            (home / "enabled_plugins").write_text(plugins)
            (home / "conf.d" / "10-shared.conf").write_text(settings)
            write_secret(home / "conf.d" / "90-node.conf", "\n".join(self._settings(node)) + "\n")

    def rounds(self) -> tuple[tuple[Program, ...], ...]:
        """Return what to start together, round by round: each when all of the one before serve.

        Nodes that never ran come last, one by one: of two that join at once, RabbitMQ before 3.12
        may leave one out of the register of MQTT's client names for good. The next node to die then
        takes the register's majority with it: no hub connects, and the node itself waits minutes.
        """
        known = [node for node in self.nodes if (self._home(node) / node.name).exists()]
        new = [node for node in self.nodes if node not in known]
        rounds = (known, *([node] for node in new))
        return ((self._epmd_program(),), *(tuple(map(self._node_program, each)) for each in rounds))

    def log(self, node: Node) -> Path:
        """Return where a node's output goes."""
        return self._home(node) / "node.log"

    def _home(self, node: Node) -> Path:
        return self.folder / f"r{node.number}"

    def _epmd_program(self) -> Program:
        async def ready(pid: int) -> bool:
            return listens(pid, self.epmd)

        return Program(
            name="epmd",
            argv=(str(self.binaries.epmd), "-port", str(self.epmd), "-address", "127.0.0.1"),
            env=self.binaries.environment(),
            log=self.folder / "epmd.log",
            is_ready=ready,
        )

    def _node_program(self, node: Node) -> Program:
        ports = (node.amqps, node.mqtts, node.management)

        async def ready(pid: int) -> bool:
            return all(listens(pid, port) for port in ports)

        return Program(
            name=f"rabbitmq-{node.number}",
            argv=(str(self.binaries.server),),
            env=self.binaries.environment() | self._environment(node),
            log=self.log(node),
            is_ready=ready,
            ready_within_s=_READY_WITHIN_S,
            stop_within_s=_STOP_WITHIN_S,
        )

    def _environment(self, node: Node) -> dict[str, str]:
        home = self._home(node)
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": node.name,
            "RABBITMQ_DIST_PORT": str(node.distribution),
            "RABBITMQ_CONF_ENV_FILE": str(home / "no-such-file"),
            "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home),
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The start script then becomes the node itself: signals reach it, and so does ours.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _settings(self, node: Node) -> Iterator[str]:
        yield f"default_user = {ADMIN}"
        yield f"default_pass = {self.admin_file.read_text()}"
        yield f"listeners.ssl.1 = 127.0.0.1:{node.amqps}"
        yield f"mqtt.listeners.ssl.1 = 127.0.0.1:{node.mqtts}"
        yield "management.tcp.ip = 127.0.0.1"
        yield f"management.tcp.port = {node.management}"
        yield f"ssl_options.cacertfile = {self.tls.authority}"
        yield f"ssl_options.certfile = {self.tls.certificate}"
        yield f"ssl_options.keyfile = {self.tls.key}"
        if len(self.nodes) > 1:
            yield "cluster_formation.peer_discovery_backend = classic_config"
            for each in self.nodes:
                yield f"cluster_formation.classic_config.nodes.{each.number} = {each.name}"


def cluster(binaries: Binaries, folder: Path, tls: Tls, *, nodes: int) -> Cluster:
    """Return a cluster of so many nodes on ports that are free just now."""
    ports = _free_ports(1 + 4 * nodes)
    members = (Node(number + 1, *ports[4 * number + 1 :][:4]) for number in range(nodes))
    return Cluster(binaries, folder, tls, ports[0], tuple(members))


def fetched() -> Path:
    """Return where ``make servers`` unpacks servers the system lacks."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headgate" / "servers"


def find() -> Binaries:
    """Return the system's RabbitMQ, else the one ``make servers`` has fetched.

    Raises:
        StackError: There is neither.
    """
    for root in (Path("/"), fetched()):
        if (found := Binaries(root)).there:
            return found
    raise StackError(
        "no RabbitMQ on this machine",
        hint="type `make servers` on Debian, or install rabbitmq-server 3.10 or later",
    )


def libraries(root: Path) -> dict[str, str]:
    """Return the environment by which what is unpacked in ``root`` finds its shared libraries."""
    if root == Path("/"):
        return {}
    triplet = f"{platform.machine()}-linux-gnu"
    return {"LD_LIBRARY_PATH": f"{root}/usr/lib/{triplet}:{root}/lib/{triplet}"}


def _free_ports(count: int) -> list[int]:
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port(0))
    return sorted(found)
