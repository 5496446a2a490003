"""Fixtures everybody shares: a real PostgreSQL, started when the first test asks for one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import Server, reachable_folder, server

# A busy machine is no counterexample: no property is judged by how long it took.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("house")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One PostgreSQL per pytest process; HEADGATE_POSTGRES=system|embedded chooses whose."""
    with server() as running:
        yield running


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


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder PostgreSQL's account can reach: the home of a stack under test."""
    with reachable_folder() as folder:
        yield folder
