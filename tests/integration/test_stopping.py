"""SIGTERM ends every stage and agent within seconds, whatever their broker does just then."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import aiomqtt
import pytest

from tests.support.awkward import AwkwardBroker, Mood, awkward
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.codec import encode
from wire.control import Held, Hello, encode_hello
from wire.ids import SensorId
from wire.topics import Channel, Lane, lane_topic, sensor_data, topic

STAGES = ("ingest", "detect", "alert", "refresh")
WITHIN_S = 20  # what hangs was ended by its own alarm before, and says so in its status
SEED = 11

FED = (
    (topic(NORTH, HUB, Channel.HELLO), encode_hello(Hello((Held(EPOCH, 3, ((0, 3),)),)))),
    (topic(NORTH, HUB, Channel.BATCH), encode(a_batch())),
    (lane_topic(Lane.HIGH), b"findings"),
)


@contextmanager
def started(log: Path, *command: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program; it is gone at the end."""
    with log.open("ab") as words:
        program = subprocess.Popen(
            [sys.executable, "-P", "-m", *command],
            env={**os.environ, **environment},
            stderr=words,
        )
    try:
        yield program
    finally:
        program.kill()
        program.wait(10)


def all_programs(
    stack: ExitStack, folder: Path, url: str, broker_port: int, sensors_port: int
) -> dict[str, "subprocess.Popen[bytes]"]:
    """Start every stage and a hub's agent beside one broker."""
    token = folder / "token"
    token.write_text("token")
    token.chmod(0o600)
    running = {
        stage: stack.enter_context(
            started(
                folder / f"{stage}.log",
                "cloud",
                stage,
                HEADGATE_DATABASE_URL=url,
                HEADGATE_BROKER_URL=f"mqtt://{stage}@127.0.0.1:{broker_port}",
                HEADGATE_BROKER_TOKEN_FILE=str(token),
            )
        )
        for stage in STAGES
    }
    config = folder / "hub.toml"
    values = {
        "hub_id": "hub-1",
        "region": "north",
        "store_id": str(uuid4()),
        "data_dir": str(folder / "data"),
        "window_s": 0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += ["[uplink]", f'url = "mqtt://127.0.0.1:{broker_port}"', f'token_file = "{token}"']
    lines += ["[sensors]", f'listen = "127.0.0.1:{sensors_port}"']
    config.write_text("\n".join(lines))
    hub = started(folder / "hub.log", "edge_agent", "run", "--config", str(config))
    running["hub"] = stack.enter_context(hub)
    return running


@pytest.mark.parametrize("mood", [None, *Mood])
async def test_what_is_told_to_stop_stops(
    tmp_path: Path, database_url: str, mood: Mood | None
) -> None:
    chance = random.Random(SEED)
    sensors_port = free_port()
    async with awkward(mood or Mood.SILENT, *FED) as broker:
        port = broker.port if mood else free_port()
        with ExitStack() as stack:
            running = all_programs(stack, tmp_path, database_url, port, sensors_port)
            await until(lambda: at_work(tmp_path, broker, mood), within_s=90)
            async with asyncio.TaskGroup() as tasks:
                saying = tasks.create_task(say(sensors_port))
                ends = [tasks.create_task(ends_soon(p, chance.random())) for p in running.values()]
                await asyncio.wait(ends)
                saying.cancel()
            assert dict.fromkeys(running, 0) == {
                name: end.result() for name, end in zip(running, ends, strict=True)
            }


def at_work(folder: Path, broker: AwkwardBroker, mood: Mood | None) -> bool:
    """Return whether every program has met its broker, or has said that there is none."""
    if mood is None:
        return all((folder / f"{name}.log").read_bytes() for name in (*STAGES, "hub"))
    return broker.connected >= {"hub-1", *(f"{name}-0" for name in STAGES)}


async def ends_soon(program: "subprocess.Popen[bytes]", after_s: float) -> int | None:
    """Tell a program to stop at an awkward moment; return its status, None if it hangs."""
    await asyncio.sleep(after_s)
    program.send_signal(signal.SIGTERM)
    with suppress(AssertionError):
        await until(lambda: program.poll() is not None, within_s=WITHIN_S)
    return program.poll()


async def say(port: int) -> None:
    """Keep a hub busy until it is gone."""
    second = 1_700_000_000
    with suppress(aiomqtt.MqttError):
        async with aiomqtt.Client("127.0.0.1", port, identifier="probes", timeout=2) as client:
            while True:
                second += 1
                body = json.dumps({"pH": 7, "timestamp": second}).encode()
                await client.publish(sensor_data(SensorId(7)), body, qos=0)
                await asyncio.sleep(0.005)
