"""A real HTTP door as a process, between a broker and clients."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx2

from gateway.core.identity import Role
from tests.support.gateway import Gateway
from tests.support.postgres import free_port
from tests.support.wait import until

DATA = "/api/sensors/data"
READING = {"sensor_id": "123", "pH": 7.2, "temp": 15.4}


@dataclass(frozen=True)
class Door:
    """A running door.

    Attributes:
        process: Its process.
        url: Where it answers.
    """

    process: "subprocess.Popen[bytes]"
    url: str

    async def serves(self) -> bool:
        """Return whether it has a way to the store."""
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

    async def ready(self) -> "Door":
        """Return once it serves."""
        serves: bool = await until(self.serves)
        assert serves
        return self


@contextmanager
def http_door(
    broker: Gateway, store_id: UUID | str, number: int = 0, **settings: str
) -> Iterator[Door]:
    """Start a door; it is gone at the end."""
    broker.enrol("http", Role.HTTP, "local")
    bind = f"127.0.0.1:{free_port()}"
    with (broker.folder / f"http-{number}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "http"],
            env={
                **os.environ,
                "HEADGATE_HTTP_BIND": bind,
                "HEADGATE_BROKER_URL": f"mqtt://http@127.0.0.1:{broker.port}",
                "HEADGATE_BROKER_TOKEN_FILE": str(broker.folder / "http.token"),
                "HEADGATE_STORE_ID": str(store_id),
                "HEADGATE_DOOR": str(number),
                **settings,
            },
            stderr=log,
        )
    try:
        yield Door(process, f"http://{bind}")
    finally:
        process.terminate()
        assert process.wait(10) in (0, -9)
