"""The four pipelines, each started on a stack of its own beside the same PostgreSQL."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import asyncpg

from benchmarks import rabbit
from benchmarks.rivals import installed
from headgate.stack.network import free_port, listens, talks_to
from headgate.stack.process import Program
from headgate.stack.rabbitmq import ADMIN
from headgate.stack.stack import Stack

HUB: Final = "hub"
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_CREATE: Final = """
create table rival_readings (
    sensor_id bigint, timestamp timestamptz, ph_level real, temperature real, turbidity real,
    conductivity real, primary key (sensor_id, timestamp)
)"""


class Way(NamedTuple):
    """How sensors reach a pipeline: ``mqtt`` or ``http``, at a port of this machine."""

    kind: str
    port: int


class Contender(NamedTuple):
    """One pipeline.

    Attributes:
        name: What it is called in the answer.
        table: Where its rows go.
        stages: What of ours it needs.
        start: Starts it as part of a stack and returns the way in.
    """

    name: str
    table: str
    stages: tuple[str, ...]
    start: Callable[[Stack], Awaitable[Way]]


async def _headgate(stack: Stack) -> Way:
    """Start a hub with its embedded listener and its spool; every reading becomes a row."""
    port = free_port(0)
    config = await stack.enrol_hub(
        HUB, "north", window_s=0, sensors={"listen": f"127.0.0.1:{port}"}
    )
    await stack.start_hub(HUB, config)
    return Way("mqtt", port)


async def _literal(stack: Stack) -> Way:
    """Start RabbitMQ as it comes, a Celery worker of two processes, and FastAPI."""
    python, amqp, http = installed.python(), free_port(0), free_port(0)
    home = stack.home.root / "literal"
    home.mkdir(mode=0o700)
    plain = f"listeners.tcp.1 = 127.0.0.1:{amqp}\nmqtt.listeners.tcp = none\n"
    placed = await rabbit.node(stack, home / "nodes", rabbit.certificate(home), plain)
    env = {
        **await _table(stack),
        "PYTHONPATH": str(installed.DESIGNS),
        "RIVAL_BROKER": f"amqp://{ADMIN}:{placed.admin_file.read_text()}@127.0.0.1:{amqp}//",
    }
    run = (str(python), "-m")
    worker = ("celery", "-A", "literal:queue", "worker", "--concurrency", "2", "-l", "warning")
    await stack.start(_talking(stack, "celery", (*run, *worker), env, amqp))
    server = ("uvicorn", "literal:app", "--port", str(http), "--no-access-log")
    await stack.start(_listening(stack, "fastapi", (*run, *server), env, http))
    return Way("http", http)


async def _subscriber(stack: Stack) -> Way:
    """Start mosquitto and a script."""
    python, port = installed.python(), await _mosquitto(stack)
    env = {**await _table(stack), "RIVAL_MQTT_PORT": str(port)}
    script = (str(python), str(installed.DESIGNS / "subscriber.py"))
    await stack.start(_talking(stack, "subscriber", script, env, port, stack.ports.postgres))
    return Way("mqtt", port)


async def _node_red(stack: Stack) -> Way:
    """Start mosquitto and a flow."""
    modules, port = installed.node_red(), await _mosquitto(stack)
    home = stack.home.root / "node-red"
    home.mkdir()
    for path in (installed.DESIGNS / "node_red").iterdir():
        (home / path.name).write_text(path.read_text())
    env = {
        **await _table(stack),
        "HOME": str(home),
        "RIVAL_MODULES": str(modules),
        "RIVAL_MQTT_PORT": str(port),
        "RIVAL_UI_PORT": str(free_port(0)),
    }
    flow = ("node", str(modules / "node-red" / "red.js"), "--userDir", str(home))
    await stack.start(_talking(stack, "node-red", ("/usr/bin/env", *flow), env, port))
    return Way("mqtt", port)


HEADGATE: Final = Contender("headgate", "sensor_readings", ("ingest",), _headgate)
LITERAL: Final = Contender("literal", "rival_readings", (), _literal)
RIVALS: Final = (
    LITERAL,
    Contender("paho", "rival_readings", (), _subscriber),
    Contender("node-red", "rival_readings", (), _node_red),
)


async def _mosquitto(stack: Stack) -> int:
    """Start mosquitto without the bound at which it loses what a slow reader has not read."""
    (program, libraries), port = installed.mosquitto(), free_port(0)
    config = stack.home.root / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
        f"user {'root' if _is_root() else 'mosquitto'}\n"
    )
    argv = (str(program), "-c", str(config))
    await stack.start(_listening(stack, "mosquitto", argv, libraries, port))
    return port


def _is_root() -> bool:
    return Path("/proc/self").stat().st_uid == 0


async def _table(stack: Stack) -> dict[str, str]:
    """Make the table rivals write to; return what leads them there."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        await connection.execute(_CREATE)
    finally:
        await connection.close()
    password = stack.home.passfile.read_text().strip().rpartition(":")[2]
    place = stack.database_url.partition("?")[0].replace("@", f":{quote(password)}@", 1)
    return {"RIVAL_DATABASE": place}


def _talking(
    stack: Stack, name: str, argv: tuple[str, ...], env: dict[str, str], *ports: int
) -> Program:
    async def ready(pid: int) -> bool:
        return talks_to(pid, *ports)

    return _program(stack, name, argv, env, ready)


def _listening(
    stack: Stack, name: str, argv: tuple[str, ...], env: dict[str, str], port: int
) -> Program:
    async def ready(pid: int) -> bool:
        return listens(pid, port)

    return _program(stack, name, argv, env, ready)


def _program(
    stack: Stack,
    name: str,
    argv: tuple[str, ...],
    env: dict[str, str],
    ready: Callable[[int], Awaitable[bool]],
) -> Program:
    own = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **env}
    return Program(name, argv, own, stack.home.logs / f"{name}.log", ready, ready_within_s=60)
