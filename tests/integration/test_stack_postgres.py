"""headgate.stack.postgres over real binaries: created once, ready by condition, kill -9 proof."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from headgate.stack.errors import StackError
from headgate.stack.postgres import Postgres, cluster, find
from headgate.stack.process import Process
from tests.support.postgres import flavours, free_port, reachable_folder
from tests.support.wait import until


@pytest.fixture(params=flavours(), scope="module")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """One cluster for all the laws: making it takes longer than judging it."""
    with reachable_folder() as folder:
        made = cluster(find(request.param), folder / "postgres", folder / "pgpass")
        made.create()
        yield made


@asynccontextmanager
async def running(postgres: Postgres, port: int) -> AsyncIterator[Process]:
    process = Process(postgres.program(port, postgres.passfile.with_name("log")))
    try:
        await until(lambda: postgres.is_ready(process.pid), within_s=30)
        yield process
    finally:
        await process.stop()


async def run(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_committed_rows_survive_kill_9(postgres: Postgres) -> None:
    port = free_port()
    async with running(postgres, port) as process:
        await run(postgres.url(port), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        process.signal(signal.SIGKILL)
        assert await process.exited() == -signal.SIGKILL
    async with running(postgres, port):
        assert await run(postgres.url(port), "SELECT count(*) FROM kept") == 1000


async def test_an_orphan_in_the_data_directory_makes_room(postgres: Postgres) -> None:
    port = free_port()
    async with running(postgres, port) as orphan:
        async with running(postgres, port) as process:
            assert process.pid != orphan.pid
            assert await run(postgres.url(port), "SELECT 1") == 1
        await orphan.exited()  # its status depends on what it was doing


async def test_nobody_enters_without_the_password(postgres: Postgres) -> None:
    port = free_port()
    assert postgres.passfile.stat().st_mode & 0o777 == 0o600
    async with running(postgres, port):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                f"postgresql://headgate:wrong@127.0.0.1:{port}/headgate", passfile="/dev/null"
            )


def test_creating_twice_keeps_the_first(postgres: Postgres) -> None:
    before = postgres.passfile.read_text()
    postgres.create()
    assert postgres.passfile.read_text() == before


def test_a_data_directory_of_another_version_is_left_alone(postgres: Postgres) -> None:
    version = postgres.data / "PG_VERSION"
    ours = version.read_text()
    version.write_text("9\n")
    try:
        with pytest.raises(StackError, match="made by PostgreSQL 9"):
            postgres.create()
        assert (postgres.data / "base").is_dir()
    finally:
        version.write_text(ours)


async def test_each_test_gets_a_database_of_its_own(empty_database_url: str) -> None:
    assert await run(empty_database_url, "SELECT count(*) FROM pg_class WHERE relname='x'") == 0
    await run(empty_database_url, "CREATE TABLE x ()")


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_the_migrated_schema_untouched(database_url: str, turn: int) -> None:
    assert await run(database_url, "SELECT count(*) FROM sensors") == 0
    assert await run(database_url, "SELECT count(*) FROM pg_class WHERE relname = 'mark'") == 0
    await run(database_url, "CREATE TABLE mark ()")
