"""Real PostgreSQLs for tests: one server a flavour and process, a fresh database per test."""

import functools
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from headgate.stack import network
from headgate.stack.errors import StackError
from headgate.stack.postgres import Flavour, Postgres, cluster, find
from headgate.stack.process import Process, Program

_NO_FSYNC = {"fsync": "off", "full_page_writes": "off"}  # a test's data need not survive the test
_SMALL = {"shared_buffers": "128MB", "max_wal_size": "1GB", "max_connections": "60"}


@dataclass
class Server:
    """A running server and the databases made on it."""

    postgres: Postgres
    port: int
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _template: str | None = None

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Lend the address of a database without tables; it is dropped at the end."""
        async with self._database("template0") as url:
            yield url

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """Lend the address of a database as the migrations leave it."""
        if self._template is None:
            await self._run("CREATE DATABASE migrated TEMPLATE template0")
            _migrate(self.postgres.url(self.port, "migrated"))
            self._template = "migrated"
        async with self._database(self._template) as url:
            yield url

    @asynccontextmanager
    async def _database(self, template: str) -> AsyncIterator[str]:
        name = f"test_{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.postgres.url(self.port, name)
        finally:
            await self._run(f"DROP DATABASE {name} WITH (FORCE)")

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.url(self.port, "postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@functools.cache
def flavours() -> tuple[Flavour, ...]:
    """Return whose PostgreSQL there is, the system's first; HEADGATE_POSTGRES narrows it to one.

    Raises:
        StackError: There is none.
    """
    chosen = os.environ.get("HEADGATE_POSTGRES")
    if chosen:
        return (find(Flavour(chosen)).flavour,)
    found = []
    for flavour in Flavour:
        with suppress(StackError):
            found.append(find(flavour).flavour)
    return tuple(found) or (find().flavour,)


@dataclass
class Servers:
    """A server of each flavour, started when it is first asked for."""

    _exits: ExitStack
    _running: dict[Flavour, Server] = field(default_factory=dict)

    def of(self, flavour: Flavour) -> Server:
        """Return the running server of a flavour."""
        if flavour not in self._running:
            self._running[flavour] = self._exits.enter_context(_server(flavour))
        return self._running[flavour]


@contextmanager
def servers() -> Iterator[Servers]:
    """Lend servers; they lose everything at the end."""
    with ExitStack() as exits:
        yield Servers(exits)


@contextmanager
def _server(flavour: Flavour) -> Iterator[Server]:
    with reachable_folder() as folder:
        postgres = cluster(find(flavour), folder / "postgres", folder / "pgpass")
        postgres.create()
        port = free_port()
        program = postgres.program(port, folder / "postgres.log", **_NO_FSYNC, **_SMALL)
        process = Process(program)
        try:
            _wait_ready(process, postgres, program)
            yield Server(postgres, port)
        finally:
            process.stop_now()


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Lend a folder that other accounts may pass through, unlike pytest's own ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="headgate-test-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on and none connects from."""
    return network.free_port(0)


def _wait_ready(process: Process, postgres: Postgres, program: Program) -> None:
    deadline = time.monotonic() + 30
    while not postgres.is_ready(process.pid):
        assert process.returncode is None, program.log.read_text()
        assert time.monotonic() < deadline, program.log.read_text()
        time.sleep(0.01)


def _migrate(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cloud", "migrate"],
        env={**os.environ, "HEADGATE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
