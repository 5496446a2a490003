"""Fixtures everybody shares: real PostgreSQLs, started when the first test asks for one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from headgate.stack.postgres import find
from tests.support.postgres import Server, Servers, flavours, reachable_folder, servers

if TYPE_CHECKING:
    from tests.support.rabbitmq import Rabbits

# A busy machine is no counterexample: no property is judged by how long it took.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")

TESTS = Path(__file__).parent
SLOWEST_FIRST = ("e2e", "integration", "sim", "contract", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what starts the most processes, so that no worker ends alone with it."""
    items.sort(key=lambda item: SLOWEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


def pytest_report_header() -> str:
    """Say over whose PostgreSQL the tests run."""
    found = [f"{find(each).major} ({each})" for each in flavours()]
    return f"PostgreSQL: {found[0]}; contract tests over {' and '.join(found)}"


@pytest.fixture(scope="session")
def postgres_servers() -> Iterator[Servers]:
    """PostgreSQLs of this pytest process; HEADGATE_POSTGRES=system|embedded allows one only."""
    with servers() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server(postgres_servers: Servers) -> Server:
    """The system's PostgreSQL if there is one, else the wheel's."""
    return postgres_servers.of(flavours()[0])


@pytest.fixture
async def empty_database_url(postgres_server: Server) -> AsyncIterator[str]:
    """A fresh database without tables."""
    async with postgres_server.empty() as url:
        yield url


@pytest.fixture
async def database_url(postgres_server: Server) -> AsyncIterator[str]:
    """A fresh database, migrated."""
    async with postgres_server.migrated() as url:
        yield url


@pytest.fixture(scope="session")
def rabbit() -> Iterator["Rabbits"]:
    """One RabbitMQ node per pytest process, its topology declared."""
    from tests.support.rabbitmq import rabbits  # heavy, and few need it

    with rabbits(1) as running:
        yield running


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder PostgreSQL's account can reach: the home of a stack under test."""
    with reachable_folder() as folder:
        yield folder
