"""A real gateway for tests: a process, its identities, and clients that speak to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt

from gateway.adapters.identities import enrol
from gateway.core.identity import Role
from tests.support.postgres import free_port


@dataclass(frozen=True)
class Gateway:
    """A running broker.

    Attributes:
        process: Its process.
        port: Where it listens.
        folder: Holds ``identities/`` and ``NAME.token`` files.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    folder: Path

    def enrol(self, name: str, role: Role, region: str = "north") -> str:
        """Enrol a client and return its token."""
        token_file = self.folder / f"{name}.token"
        enrol(name, role, region, folder=self.folder / "identities", token_file=token_file)
        return token_file.read_text().strip()

    def client(self, name: str, role: Role, **options: object) -> aiomqtt.Client:
        """Return a client of an enrolled identity, not yet connected."""
        password = self.enrol(name, role)
        settings: dict[str, object] = {"identifier": name, "password": password, "timeout": 5}
        return aiomqtt.Client(
            "127.0.0.1",
            self.port,
            username=name,
            **{**settings, **options},  # type: ignore[arg-type]
        )


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Start a broker on a free port; it is gone at the end."""
    port = free_port()
    (folder / "identities").mkdir(parents=True, exist_ok=True)
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway", "mqtt"],
            env={
                **os.environ,
                "HEADGATE_MQTT_BIND": f"127.0.0.1:{port}",
                "HEADGATE_IDENTITIES": str(folder / "identities"),
            },
            stderr=log,
        )
    try:
        yield Gateway(process, port, folder)
    finally:
        process.terminate()
        process.wait(10)
