"""Stages outlive their neighbours: the same process, connected again, nothing lost."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import asyncpg

from cloud.adapters.postgres.read import Reader
from cloud.adapters.postgres.read_pool import read_pool
from cloud.read.status import STAGES, judge
from gateway.core.identity import Role
from headgate.stack.network import listens, talks_to
from headgate.stack.postgres import Postgres, cluster, find
from headgate.stack.process import Process
from tests.support.builders import EPOCH, HUB, NORTH, a_batch
from tests.support.gateway import Gateway
from tests.support.postgres import flavours, free_port
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
                    **self.environment,
                    HEADGATE_BROKER_URL=f"mqtt://{stage}@127.0.0.1:{self.port}",
                    HEADGATE_BROKER_TOKEN_FILE=str(self.folder / f"{stage}.token"),
                )
            )
            for stage in STAGES
        }

    @property
    def environment(self) -> dict[str, str]:
        """What every command of the cloud is told."""
        return {"HEADGATE_DATABASE_URL": self.database_url}

    def log(self, stage: str) -> Path:
        """Return where a stage's words go."""
        return self.folder / f"{stage}.log"

    def said(self, stage: str) -> str:
        """Return what a stage has said so far."""
        return self.log(stage).read_text()


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
        assert "Traceback" not in "".join(cloud.said(each) for each in stages)
    assert await stored(database_url) == (sender.made, f"{{[0,{sender.made})}}")


async def test_stages_outlive_a_killed_postgresql_and_say_so_in_lines(
    tmp_path: Path, open_folder: Path
) -> None:
    port, sender = free_port(), Sender()
    postgres = cluster(find(flavours()[0]), open_folder / "postgres", open_folder / "pgpass")
    postgres.create()
    cloud = Cloud(tmp_path, postgres.url(port))
    with ExitStack() as stack:
        async with cloud.broker() as broker:
            async with served(postgres, port) as killed:
                with started(tmp_path / "log", "cloud", "migrate", **cloud.environment) as done:
                    await until(lambda: done.poll() == 0, within_s=WITHIN_S)
                stages = cloud.start(stack, broker)
                await until(lambda: all_meet(stages, cloud.port, port), within_s=WITHIN_S)
                killed.signal(signal.SIGKILL)
                await until(lambda: all("again" in cloud.said(each) for each in stages))
            async with served(postgres, port), asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(sender.run(broker))
                sender.make()
                await until(lambda: not sender.unsettled, within_s=WITHIN_S)
                await until(lambda: all_meet(stages, cloud.port, port), within_s=WITHIN_S)
                sending.cancel()
        assert {name: stage.poll() for name, stage in stages.items()} == dict.fromkeys(stages)
        for each in stages:
            assert all(line.startswith("{") for line in cloud.said(each).splitlines())


async def test_a_stage_that_hangs_does_not_count_as_running(
    tmp_path: Path, database_url: str
) -> None:
    cloud, sender = Cloud(tmp_path, database_url), Sender()
    with ExitStack() as stack:
        async with cloud.broker() as broker, read_pool(database_url, name="test") as readers:

            async def becomes(word: str) -> None:
                async def so() -> bool:
                    return judge(await Reader(readers).workers())["workers"] == word

                seen: bool = await until(so, within_s=WITHIN_S)
                assert seen

            stages = cloud.start(stack, broker)
            await becomes("running")
            stages["refresh"].send_signal(signal.SIGSTOP)
            await becomes("partial")
            stages["refresh"].send_signal(signal.SIGCONT)
            await becomes("running")
            async with asyncio.TaskGroup() as tasks, locked(database_url, "detect_ledger"):
                sending = tasks.create_task(sender.run(broker))
                sender.make()
                await becomes("partial")
                sending.cancel()
            await becomes("running")


@asynccontextmanager
async def served(postgres: Postgres, port: int) -> AsyncIterator[Process]:
    process = Process(postgres.program(port, postgres.passfile.with_name("log")))
    try:
        await until(lambda: postgres.is_ready(process.pid), within_s=WITHIN_S)
        yield process
    finally:
        await process.stop()


@asynccontextmanager
async def locked(url: str, table: str) -> AsyncIterator[None]:
    """Keep everybody else from a table."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(f"lock table {table}")
            yield
    finally:
        await connection.close()


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
