"""The platform's programs as the stack runs them: commands, environments, signs of readiness."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.stack.layout import Home
from headgate.stack.network import listens, talks_to
from headgate.stack.process import Program

STAGES: Final = ("ingest", "detect", "alert", "refresh", "api")
DOOR: Final = "http"
_ASK_WITHIN_S: Final = 2.0
_PASSED_ON: Final = frozenset({"HEADGATE_BACKFILL_FROM"})  # the operator's word to the stages


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the stack's servers listen, on 127.0.0.1."""

    postgres: int
    mqtt: int
    api: int
    http: int


def command(program: str, *arguments: str) -> tuple[str, ...]:
    """Return how a program of this distribution is started, from any folder."""
    return (sys.executable, "-P", "-m", program, *arguments)


def environment(home: Home, **settings: str) -> dict[str, str]:
    """Return our own environment, with only the settings we say."""
    return {
        **_inherited(),
        "OPENBLAS_NUM_THREADS": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(home.metrics),
        **settings,
    }


def gateway(home: Home, ports: Ports) -> Program:
    """Return the broker."""

    async def ready(pid: int) -> bool:
        return listens(pid, ports.mqtt)

    return Program(
        name="gateway",
        argv=command("gateway", "mqtt"),
        env=environment(
            home,
            HEADGATE_MQTT_BIND=f"127.0.0.1:{ports.mqtt}",
            HEADGATE_IDENTITIES=str(home.identities),
        ),
        log=home.logs / "gateway.log",
        is_ready=ready,
        carries_others=True,
    )


def stage(role: str, home: Home, ports: Ports, database_url: str, share: str = "0/1") -> Program:
    """Return one worker of a stage: ready once it talks to its neighbours, or answers as an API."""
    worker, _, workers = share.partition("/")
    name = role if workers == "1" else f"{role}-{worker}"

    async def ready(pid: int) -> bool:
        if role == "api":
            return listens(pid, ports.api) and await answers(ports.api, "/readyz")
        return talks_to(pid, ports.postgres, ports.mqtt)

    return Program(
        name=name,
        argv=command("cloud", role),
        env=environment(
            home,
            HEADGATE_DATABASE_URL=database_url,
            HEADGATE_BROKER_URL=f"mqtt://{role}@127.0.0.1:{ports.mqtt}",
            HEADGATE_BROKER_TOKEN_FILE=str(home.token(role)),
            HEADGATE_SHARE=share,
            HEADGATE_API_BIND=f"127.0.0.1:{ports.api}",
        ),
        log=home.logs / f"{name}.log",
        is_ready=ready,
    )


def door(home: Home, ports: Ports, store_id: str) -> Program:
    """Return the HTTP door: ready once it answers and has a way to the store."""

    async def ready(pid: int) -> bool:
        return listens(pid, ports.http) and await answers(ports.http, "/readyz")

    return Program(
        name=DOOR,
        argv=command("gateway", "http"),
        env=environment(
            home,
            HEADGATE_HTTP_BIND=f"127.0.0.1:{ports.http}",
            HEADGATE_BROKER_URL=f"mqtt://{DOOR}@127.0.0.1:{ports.mqtt}",
            HEADGATE_BROKER_TOKEN_FILE=str(home.token(DOOR)),
            HEADGATE_STORE_ID=store_id,
        ),
        log=home.logs / f"{DOOR}.log",
        is_ready=ready,
    )


def edge(name: str, config: Path, log: Path, mqtt_port: int) -> Program:
    """Return a hub's agent on this machine: ready once it talks to the broker."""

    async def ready(pid: int) -> bool:
        return talks_to(pid, mqtt_port)

    return Program(
        name=name,
        argv=command("edge_agent", "run", "--config", str(config)),
        env=_inherited() | {"OPENBLAS_NUM_THREADS": "1"},
        log=log,
        is_ready=ready,
    )


async def answers(port: int, path: str) -> bool:
    """Return whether a GET of the loopback interface is answered with 200 just now."""
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]


def forget_metrics_of(home: Home, pid: int) -> None:
    """Remove the live gauges of a process that has ended; its counters stay in the sums."""
    for path in home.metrics.glob(f"gauge_live*_{pid}.db"):
        path.unlink(missing_ok=True)


def _inherited() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or not name.startswith(("HEADGATE_", "PROMETHEUS_"))
    }
