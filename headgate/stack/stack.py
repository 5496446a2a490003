"""The whole platform on one machine, as one object: start it, break it, ask it, stop it."""

import asyncio
import shutil
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from headgate.stack.enrolment import add_hub, enrol_stages
from headgate.stack.errors import StackError
from headgate.stack.layout import Facts, Home, read_facts
from headgate.stack.network import free_port
from headgate.stack.postgres import Flavour, Postgres, cluster, find
from headgate.stack.process import Program, run_once
from headgate.stack.programs import (
    DOOR,
    STAGES,
    Broker,
    Ports,
    command,
    door,
    edge,
    embedded,
    environment,
    forget_metrics_of,
    gateway,
    stage,
)
from headgate.stack.supervisor import Supervisor
from headgate.stack.usage import cpu_seconds

PREFERRED: Final = Ports(postgres=5432, mqtt=1883, api=8080, http=8081)
_MIGRATE_WITHIN_S: Final = 120.0


class Stack:
    """PostgreSQL, the broker and the stages, started in order and supervised.

    Enter it from the main thread: every process is leashed to the thread that started it.
    """

    def __init__(
        self,
        home: Path,
        *,
        ingest_workers: int = 1,
        stages: Sequence[str] = STAGES,
        any_ports: bool = False,
        postgres: Flavour | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Describe the stack; nothing runs before ``async with``.

        Args:
            home: Its data directory; made if missing.
            ingest_workers: How many ingest processes share the hubs, >= 1.
            stages: Which stages to run, the HTTP door among them if it is named.
            any_ports: Let the kernel choose the ports (tests) instead of the usual ones.
            postgres: Whose PostgreSQL; None takes the system's, else the wheel's.
            tell: Gets a line about everything that happens.
        """
        assert ingest_workers >= 1
        self.home = Home(home.absolute())
        self._ingest_workers = ingest_workers
        self._stages = tuple(stages)
        self._any_ports = any_ports
        self._flavour = postgres
        self._tell = tell
        self._exits = AsyncExitStack()
        self._supervisor = Supervisor(tell, self._on_change)
        self._living: set[int] = set()
        self._facts: Facts | None = None
        self._ports = PREFERRED
        self._postgres: Postgres | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            self.home.make()
            exits.enter_context(self.home.locked())
            await exits.enter_async_context(self._supervisor)
            await self._start()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.__aexit__(kind, error, trace)

    # where things are

    @property
    def ports(self) -> Ports:
        """Where the servers listen."""
        return self._ports

    @property
    def database_url(self) -> str:
        """The database, without its password: that is in a file the address names."""
        assert self._postgres is not None
        return self._postgres.url(self._ports.postgres)

    @property
    def api_url(self) -> str:
        """The API."""
        return f"http://127.0.0.1:{self._ports.api}"

    @property
    def facts(self) -> Facts:
        """What enrolment needs to know."""
        assert self._facts is not None
        return self._facts

    def broker_url(self, name: str) -> str:
        """Return the broker's address for a client of that name."""
        return f"mqtt://{name}@127.0.0.1:{self._ports.mqtt}"

    def uplink_url(self, *ports: int) -> str:
        """Return the broker's address for a hub that reaches it by ports of this machine."""
        (port,) = ports
        return f"mqtt://127.0.0.1:{port}"

    def token_file(self, stage_name: str) -> Path:
        """Return where a stage's token is."""
        return self.home.token(stage_name)

    # what runs

    @property
    def processes(self) -> dict[str, int]:
        """Process id by name, of those that run just now."""
        return self._supervisor.processes

    def serves(self, name: str) -> bool:
        """Return whether a program's present process is ready."""
        return self._supervisor.serves(name)

    def restarts(self, name: str) -> int:
        """Return how many times a program has been started again."""
        return self._supervisor.restarts(name)

    def kill(self, name: str) -> int:
        """Kill a process (SIGKILL) and return its id; it is started again."""
        return self.signal(name, signal.SIGKILL)

    def signal(self, name: str, number: signal.Signals) -> int:
        """Signal a process and return its id; if that ends it, it is started again.

        Raises:
            StackError: It does not run just now.
        """
        return self._supervisor.signal(name, number)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds of every present process with its children."""
        return cpu_seconds(self.processes)

    async def start(self, program: Program) -> None:
        """Start one more program and return once it serves; it is kept running."""
        await self._supervisor.start(program)

    async def stop(self, name: str) -> None:
        """Stop a program and forget it. Idempotent."""
        await self._supervisor.stop(name)

    # hubs

    async def enrol_hub(
        self, hub_id: str, region: str, *, folder: Path | None = None, **overrides: Any
    ) -> Path:
        """Enrol a hub and return its ``edge.toml``; see ``headgate.stack.enrolment.add_hub``."""
        return await add_hub(self.home, self.facts, hub_id, region, folder=folder, **overrides)

    async def start_hub(self, hub_id: str, config: Path) -> None:
        """Run a hub's agent on this machine, as the process ``hub_id``."""
        log = self.home.logs / f"{hub_id}.log"
        await self.start(edge(hub_id, config, log, self._ports.mqtt))

    # how it comes up

    async def _start(self) -> None:
        self._ports = self._choose_ports()
        _empty(self.home.metrics)
        await together(self._start_broker(), self._start_postgres())
        workers = [f"{worker}/{self._ingest_workers}" for worker in range(self._ingest_workers)]
        await together(
            *(self._start_stage("ingest", share) for share in workers),
            *(self._start_stage(role, "0/1") for role in STAGES if role != "ingest"),
            self._start_door(),
        )
        self._on_change()

    async def _start_postgres(self) -> None:
        binaries = find(self._flavour)
        self._postgres = cluster(binaries, self.home.postgres, self.home.passfile)
        self._postgres.create()
        await self.start(
            self._postgres.program(self._ports.postgres, self.home.logs / "postgres.log")
        )
        self._tell(
            f"PostgreSQL {binaries.major} ({binaries.flavour}) on 127.0.0.1:{self._ports.postgres}"
        )
        for_cloud = environment(self.home, HEADGATE_DATABASE_URL=self.database_url)
        await run_once(command("cloud", "migrate"), for_cloud, within_s=_MIGRATE_WITHIN_S)
        store_id = await run_once(
            command("cloud", "store-id"), for_cloud, within_s=_MIGRATE_WITHIN_S
        )
        ports = self._ports
        self._facts = Facts(store_id.strip(), ports.postgres, ports.mqtt, ports.api, {}, ports.http)

    async def _start_broker(self) -> None:
        await enrol_stages(self.home)
        await self.start(gateway(self.home, self._ports))
        self._tell(f"MQTT broker on 127.0.0.1:{self._ports.mqtt}")

    def _broker(self) -> Broker:
        return embedded(self.home, self._ports)

    async def _start_stage(self, role: str, share: str) -> None:
        if role in self._stages:
            place = (self.home, self._ports, self.database_url, share, self._broker())
            program = stage(role, *place)
            await self.start(program)
            self._tell(f"API on {self.api_url}" if role == "api" else f"{program.name} runs")

    async def _start_door(self) -> None:
        if DOOR in self._stages:
            await self.start(door(self.home, self._ports, self.facts.store_id))
            self._tell(f"HTTP door on http://127.0.0.1:{self._ports.http}")

    def _choose_ports(self) -> Ports:
        """Return the ports of last time, which hubs know, or the usual ones, or the next free."""
        if self._any_ports:
            return Ports(*(free_port(0) for _ in range(4)))
        last = read_facts(self.home)
        wanted = (
            Ports(last.postgres_port, last.mqtt_port, last.api_port, last.http_port)
            if last
            else PREFERRED
        )
        chosen = Ports(
            free_port(wanted.postgres),
            free_port(wanted.mqtt),
            free_port(wanted.api),
            free_port(wanted.http),
        )
        for name in ("postgres", "mqtt", "api", "http"):
            if getattr(chosen, name) != getattr(wanted, name):
                self._tell(
                    f"port {getattr(wanted, name)} is taken: "
                    f"{name} listens on {getattr(chosen, name)} instead"
                )
        return chosen

    def _on_change(self) -> None:
        """Tell the data directory what runs, and drop the live gauges of what ended."""
        living = set(self.processes.values())
        for pid in self._living - living:
            forget_metrics_of(self.home, pid)
        self._living = living
        if self._facts is not None:
            ports = self._ports
            told = (ports.postgres, ports.mqtt, ports.api, self.processes, ports.http)
            self._facts = Facts(self._facts.store_id, *told)
            self._facts.write(self.home)


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Do steps that do not need each other at the same time; the first failure ends them all."""
    failure: StackError | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            for step in steps:
                tasks.create_task(step)
    except* StackError as failures:
        failure = next(each for each in failures.exceptions if isinstance(each, StackError))
    if failure is not None:
        raise failure


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
