"""A broker that already answers, with ingest's identity: what tests of the inbox stand on."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.core.identity import Role
from tests.support.gateway import Gateway, gateway
from tests.support.wait import until


@asynccontextmanager
async def broker_for_ingest(folder: Path) -> AsyncIterator[Gateway]:
    """Start a broker on a free port and wait until it answers."""
    with gateway(folder) as running:
        running.enrol("ingest", Role.INGEST)
        await until(lambda: _answers(running.port), within_s=30)
        yield running


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
