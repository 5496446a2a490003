"""What holds over PostgreSQL holds over each there is: the system's and the wheel's."""

import pytest

from tests.support.postgres import Server, Servers, flavours


@pytest.fixture(params=flavours())
def postgres_server(request: pytest.FixtureRequest, postgres_servers: Servers) -> Server:
    """One after the other, every PostgreSQL of this machine."""
    return postgres_servers.of(request.param)
