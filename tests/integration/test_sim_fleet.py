"""A fleet as a process, at a real embedded broker."""

import asyncio
import json
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from firmware_sim.core.ledger import ChunkKind, chunks, unpack_readings
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.ids import UnixMs
from wire.reading import StatusMessage, encode_status, parse_sensor_message
from wire.topics import SENSOR_DATA_FILTER, parse_sensor_data, sensor_status

BROKER = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    await Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
    }).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def embedded_broker(port: int) -> AsyncIterator[None]:
    """Run the hubs' own kind of broker in a process; at the end it is killed, as by power."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", BROKER, str(port))
    try:
        await until(lambda: listens(port), within_s=40)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Agent:
    """A hub's agent in little: keeps what it hears, answers with a watermark."""

    def __init__(self) -> None:
        self.kept: dict[int, set[int]] = defaultdict(set)

    async def run(self, port: int) -> None:
        with suppress(aiomqtt.MqttError):
            await self._serve(port)

    async def _serve(self, port: int) -> None:
        async with aiomqtt.Client("127.0.0.1", port, identifier="agent") as client:
            await client.subscribe(SENSOR_DATA_FILTER, qos=1)
            async for message in client.messages:
                sensor_id = parse_sensor_data(str(message.topic))
                assert isinstance(message.payload, bytes)
                times = parse_sensor_message(message.payload, sensor_id).observed_at_ms.tolist()
                self.kept[sensor_id].update(times)
                status = StatusMessage(UnixMs(max(times)))
                await client.publish(sensor_status(sensor_id), encode_status(status))


@asynccontextmanager
async def fleet(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "firmware_sim", *arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lines(process: asyncio.subprocess.Process) -> list[dict[str, object]]:
    assert process.stdout is not None
    return [json.loads(line) async for line in process.stdout]


def ledgered(path: Path) -> dict[int, set[int]]:
    instants: dict[int, set[int]] = defaultdict(set)
    with path.open("rb") as file:
        for chunk in chunks(file):
            if chunk.kind is ChunkKind.READINGS:
                made = unpack_readings(chunk.body).readings
                for sensor_id, at_ms in zip(
                    made.sensor_ids.tolist(), made.observed_at_ms.tolist(), strict=True
                ):
                    instants[sensor_id].add(at_ms)
    return instants


@pytest.mark.spec("I3", "K6")
async def test_a_fleet_says_everything_it_measured_and_hears_it_committed(tmp_path: Path) -> None:
    port, ledger, agent = free_port(), tmp_path / "ledger", Agent()
    async with embedded_broker(port), asyncio.TaskGroup() as group:
        serving = group.create_task(agent.run(port))
        arguments = ["--sensors", "10", "--seconds", "3", "--contaminate-every", "0.5"]
        arguments += ["--contamination-seconds", "1", "--rate", "4", "--speed", "5"]
        async with fleet(
            "fleet", "--broker", f"mqtt://127.0.0.1:{port}", "--ledger", str(ledger), *arguments
        ) as process:
            said = await lines(process)
            assert await process.wait() == 0
        serving.cancel()
    done = said[-1]["done"]
    assert isinstance(done, dict)
    assert done["sent"] == done["committed"] == done["made"] == 10 * 15 * 4
    assert done["pending"] == done["lost"] == 0
    assert ledgered(ledger) == agent.kept
    assert any("affected" in line for line in said)


async def test_a_flood_survives_its_broker_and_drains_on_sigterm(tmp_path: Path) -> None:
    port, ledger, agent = free_port(), tmp_path / "ledger", Agent()
    arguments = ["--sensors", "50", "--rate", "500", "--seconds", "600", "--per-message", "5"]
    async with fleet(
        "flood", "--broker", f"mqtt://127.0.0.1:{port}", "--ledger", str(ledger), *arguments
    ) as process:
        async with embedded_broker(port), asyncio.TaskGroup() as group:
            serving = group.create_task(agent.run(port))
            await until(lambda: len(agent.kept) == 50, within_s=40)
            serving.cancel()
        async with embedded_broker(port), asyncio.TaskGroup() as group:
            serving = group.create_task(agent.run(port))
            before = sum(map(len, agent.kept.values()))
            await until(lambda: sum(map(len, agent.kept.values())) > before + 500, within_s=40)
            process.send_signal(signal.SIGTERM)
            said = await lines(process)
            assert await process.wait() == 0
            serving.cancel()
    done = said[-1]["done"]
    assert isinstance(done, dict)
    assert done["pending"] == done["lost"] == 0
    assert ledgered(ledger) == agent.kept
