"""Stages outlive their neighbours: the same process, connected again, nothing lost."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import asyncpg

from cloud.read.status import STAGES
from gateway.core.identity import Role
from headgate.stack.network import listens, talks_to
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.gateway import Gateway
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.clock import SystemClock
from wire.codec import encode
from wire.control import decode_receipt
from wire.topics import Channel, topic

KILLS = 6
SEED = 5
WITHIN_S = 60
RESEND_S = 1.0


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


@dataclass
class Cloud:
    """Every stage beside one broker that can be killed."""

    folder: Path
    database_url: str
    port: int = field(default_factory=free_port)

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Gateway]:
        """Lend a broker that listens, always at the same port."""
        identities = self.folder / "identities"
        identities.mkdir(exist_ok=True)
        bind = f"127.0.0.1:{self.port}"
        environment = {"HEADGATE_MQTT_BIND": bind, "HEADGATE_IDENTITIES": str(identities)}
        with started(self.folder / "gateway.log", "gateway", "mqtt", **environment) as process:
            await until(lambda: listens(process.pid, self.port), within_s=WITHIN_S)
            yield Gateway(process, self.port, self.folder)

    def start(self, stack: ExitStack, broker: Gateway) -> "dict[str, subprocess.Popen[bytes]]":
        """Start every stage."""
        for stage in STAGES:
            broker.enrol(stage, Role(stage))
        return {
            stage: stack.enter_context(
                started(
                    self.log(stage),
                    "cloud",
                    stage,
                    HEADGATE_DATABASE_URL=self.database_url,
                    HEADGATE_BROKER_URL=f"mqtt://{stage}@127.0.0.1:{self.port}",
                    HEADGATE_BROKER_TOKEN_FILE=str(self.folder / f"{stage}.token"),
                )
            )
            for stage in STAGES
        }

    def log(self, stage: str) -> Path:
        """Return where a stage's words go."""
        return self.folder / f"{stage}.log"


@dataclass
class Sender:
    """A hub without a disk: it sends each batch until there is a receipt for it."""

    unsettled: dict[int, bytes] = field(default_factory=dict)
    made: int = 0
    began_ms: int = field(default_factory=SystemClock().now_ms)

    def make(self) -> None:
        """Make one more batch."""
        batch = a_batch(self.made, sensors=[7], times=[self.began_ms + self.made])
        self.unsettled[self.made] = encode(batch)
        self.made += 1

    async def run(self, broker: Gateway) -> None:
        """Stay connected for ever."""
        while True:
            with suppress(aiomqtt.MqttError):
                async with broker.client(HUB, Role.HUB, timeout=2) as client:
                    await client.subscribe(topic(NORTH, HUB, Channel.RECEIPT), qos=1)
                    await self._converse(client)
            await asyncio.sleep(0.05)

    async def _converse(self, client: aiomqtt.Client) -> None:
        while True:
            for body in list(self.unsettled.values()):
                await client.publish(topic(NORTH, HUB, Channel.BATCH), body, qos=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESEND_S):
                    while self.unsettled:
                        message = await anext(aiter(client.messages))
                        for low, high in decode_receipt(bytes(message.payload)).received:
                            for sequence in range(low, high):
                                self.unsettled.pop(sequence, None)
            if not self.unsettled:
                await asyncio.sleep(0.02)


async def test_stages_outlive_a_broker_that_is_killed_again_and_again(
    tmp_path: Path, database_url: str
) -> None:
    chance, cloud, sender = random.Random(SEED), Cloud(tmp_path, database_url), Sender()
    with ExitStack() as stack:
        async with cloud.broker() as broker:
            stages = cloud.start(stack, broker)
            hub = broker
            await until(lambda: all_meet(stages, cloud.port), within_s=WITHIN_S)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(sender.run(hub))
            for _ in range(KILLS):
                async with cloud.broker() as broker:
                    for _ in range(chance.randrange(40)):
                        sender.make()
                        await asyncio.sleep(chance.random() / 20)
                    broker.process.kill()
            async with cloud.broker():
                sender.make()
                await until(lambda: not sender.unsettled, within_s=WITHIN_S)
                await until(lambda: all_meet(stages, cloud.port), within_s=WITHIN_S)
            sending.cancel()
        assert {name: stage.poll() for name, stage in stages.items()} == dict.fromkeys(stages)
        for stage in stages:
            assert b"Traceback" not in cloud.log(stage).read_bytes()
    assert await stored(database_url) == (sender.made, f"{{[0,{sender.made})}}")


def all_meet(stages: "dict[str, subprocess.Popen[bytes]]", *ports: int) -> bool:
    return all(talks_to(stage.pid, *ports) for stage in stages.values())


async def stored(url: str) -> tuple[int, str]:
    connection = await asyncpg.connect(url)
    try:
        readings = await connection.fetchval("select count(*) from sensor_readings")
        received = "select received::text from hub_ledger where epoch = $1"
        return readings, await connection.fetchval(received, EPOCH)
    finally:
        await connection.close()
