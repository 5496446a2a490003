"""The platform's programs as the stack runs them: commands, environments, signs of readiness."""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.stack.layout import Home
from headgate.stack.network import listens, talks_to
from headgate.stack.process import Program

STAGES: Final = ("ingest", "detect", "alert", "refresh", "api")
DOOR: Final = "http"
_ASK_WITHIN_S: Final = 2.0
_ANSWER_BYTES_MAX: Final = 1_048_576
_PASSED_ON: Final = frozenset({"HEADGATE_BACKFILL_FROM"})  # the operator's word to the stages


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the stack's servers listen, on 127.0.0.1."""

    postgres: int
    mqtt: int
    api: int
    http: int


@dataclass(frozen=True, slots=True)
class Broker:
    """Where stages stand.

    Attributes:
        ports: Of this machine; to be connected to one of them is enough.
        settings: What the stage of a role is told to find it and to be let in.
    """

    ports: tuple[int, ...]
    settings: Callable[[str], dict[str, str]]


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


def embedded(home: Home, ports: Ports) -> Broker:
    """Return the broker that ``gateway`` runs."""
    return Broker(
        (ports.mqtt,),
        lambda role: {
            "HEADGATE_BROKER_URL": f"mqtt://{role}@127.0.0.1:{ports.mqtt}",
            "HEADGATE_BROKER_TOKEN_FILE": str(home.token(role)),
        },
    )


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


def stage(
    role: str,
    home: Home,
    ports: Ports,
    database_url: str,
    share: str = "0/1",
    broker: Broker | None = None,
) -> Program:
    """Return one worker of a stage: ready once it talks to its neighbours, or answers as an API."""
    worker, _, workers = share.partition("/")
    name = role if workers == "1" else f"{role}-{worker}"
    broker = broker or embedded(home, ports)

    async def ready(pid: int) -> bool:
        if role == "api":
            return listens(pid, ports.api) and await answers(ports.api, "/readyz")
        return any(talks_to(pid, ports.postgres, port) for port in broker.ports)

    return Program(
        name=name,
        argv=command("cloud", role),
        env=environment(
            home,
            HEADGATE_DATABASE_URL=database_url,
            HEADGATE_SHARE=share,
            HEADGATE_API_BIND=f"127.0.0.1:{ports.api}",
            **broker.settings(role),
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


def edge(name: str, config: Path, log: Path, *mqtt_ports: int) -> Program:
    """Return a hub's agent on this machine: ready once it talks to one of the broker's ports."""

    async def ready(pid: int) -> bool:
        return any(talks_to(pid, port) for port in mqtt_ports)

    return Program(
        name=name,
        argv=command("edge_agent", "run", "--config", str(config)),
        env=_inherited() | {"OPENBLAS_NUM_THREADS": "1"},
        log=log,
        is_ready=ready,
    )


async def answers(port: int, path: str) -> bool:
    """Return whether a GET of the loopback interface is answered with 200 just now."""
    return await fetch(port, path) is not None


async def fetch(port: int, path: str, account: str = "") -> bytes | None:
    """Return what a GET of the loopback interface is answered with; None unless it is a 200.

    Args:
        port: Of this machine.
        path: With its query.
        account: ``name:password``, if one is asked for.
    """
    proof = f"Authorization: Basic {b64encode(account.encode()).decode()}\r\n" if account else ""
    try:
        async with asyncio.timeout(_ASK_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n{proof}\r\n".encode())
                answer = b""
                while len(answer) < _ANSWER_BYTES_MAX and (piece := await reader.read(65_536)):
                    answer += piece
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if head.split()[1:2] == [b"200"] else None


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
