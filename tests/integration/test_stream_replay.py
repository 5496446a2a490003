"""A region's log replayed by the real command: the original again, once, and nobody is told."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import aio_pika
import aiomqtt
import asyncpg
import numpy as np
import pytest
from aio_pika.exceptions import AMQPError

from cloud.adapters.amqp import Broker
from cloud.adapters.amqp_log import opened
from cloud.adapters.postgres.compare import Comparison, compare
from cloud.core.errors import OperatorError
from gateway.cluster.files import region_definitions
from gateway.cluster.service import enrol
from tests.support.builders import a_batch, a_seal
from tests.support.cloud import Tables
from tests.support.cloud_tables import read_tables
from tests.support.postgres import Server
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire.batch import Batch, Kind
from wire.clock import SystemClock
from wire.codec import encode
from wire.ids import HubId, Region
from wire.queues import TOPICS, VHOST, log, routing_key
from wire.topics import Channel, topic

REGION, CUT = Region("replayed"), Region("cut")
LEFT, RIGHT = HubId("replay-left"), HubId("replay-right")
NOW = SystemClock().now_ms()
BEGAN = NOW - 1_000_000
AN_HOUR_AGO = datetime.fromtimestamp(NOW // 1_000, UTC) - timedelta(hours=1)
TURNS, SENSORS, IN_FLIGHT = 150, 20, 10
MARK = b"all that was said before has been heard"
WITHIN_S = 60


@dataclass(frozen=True)
class Said:
    """A message of a hub."""

    hub: HubId
    channel: Channel
    body: bytes


def routine(hub: HubId, sequence: int, **columns: Any) -> Said:
    return Said(hub, Channel.BATCH, encode(sealed(hub, sequence, Kind.ROUTINE, **columns)))


def sealed(hub: HubId, sequence: int, kind: Kind, **columns: Any) -> Batch:
    seal = replace(a_seal(sequence, hub=hub, kind=kind), region=REGION)
    return a_batch(seal=seal, **columns)


def unreadable(sequence: int) -> Said:
    """Return a batch whose header and checksums hold over rows that cannot be."""
    batch = sealed(LEFT, sequence, Kind.ROUTINE)
    object.__setattr__(batch, "samples", np.array([0], np.int32))
    return Said(LEFT, Channel.BATCH, encode(batch))


def flood(dice: Random) -> list[Said]:
    """Return what two hubs say: batches in disorder, some twice, and every kind of trouble."""
    usual = [
        routine(hub, n, sensors=range(low, low + SENSORS), times=[BEGAN + 1_000 * n] * SENSORS)
        for n in range(TURNS)
        for hub, low in ((LEFT, 0), (RIGHT, 100))
    ]
    trouble = [
        # Another value for an instant; beside it, one that says the same again.
        routine(LEFT, TURNS, sensors=[0], times=[BEGAN], ph=8.5),
        routine(RIGHT, TURNS, sensors=[100, 101], times=[BEGAN] * 2, ph=[7.0, 9.0]),
        # A sensor the other hub speaks for; an instant three days ahead.
        routine(RIGHT, TURNS + 1, sensors=[1, 102], times=[NOW - 5_000] * 2),
        routine(LEFT, TURNS + 1, sensors=[0], times=[NOW + 3 * 86_400_000]),
        Said(LEFT, Channel.BATCH, b"noise"),
        Said(LEFT, Channel.URGENT, encode(sealed(LEFT, TURNS + 2, Kind.EVIDENCE, times=[NOW - 9]))),
    ]
    said = usual[2:] + trouble + usual[::10]
    dice.shuffle(said)
    return [*usual[:2], *said, unreadable(TURNS + 3)]  # the first claims, and the refusal last


@dataclass
class Hub:
    """A hub's connection, and the receipts it heard."""

    client: aiomqtt.Client
    heard: list[bytes] = field(default_factory=list)

    async def say(self, said: Said) -> None:
        await self.client.publish(topic(REGION, said.hub, said.channel), said.body, 1)

    async def listen(self) -> None:
        async for message in self.client.messages:
            assert isinstance(message.payload, bytes)
            self.heard.append(message.payload)


@asynccontextmanager
async def hubs(rabbit: Rabbits) -> AsyncIterator[dict[HubId, Hub]]:
    """Connect both hubs, each listening for its receipts."""
    async with rabbit.api() as api:
        for name in (LEFT, RIGHT):
            await enrol(api, REGION, name)
    await rabbit.empty()
    async with rabbit.hub(LEFT) as left, rabbit.hub(RIGHT) as right:
        both = {LEFT: Hub(left), RIGHT: Hub(right)}
        for name, hub in both.items():
            await hub.client.subscribe(topic(REGION, name, Channel.RECEIPT), qos=1)
        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(hub.listen()) for hub in both.values()]
            yield both
            for each in listening:
                each.cancel()


async def receipts_so_far(rabbit: Rabbits, both: dict[HubId, Hub]) -> int:
    """Return how many receipts were given until now, marks left out."""
    before = {name: hub.heard.count(MARK) for name, hub in both.items()}
    async with await rabbit.service("ingest") as connection:
        exchange = await (await connection.channel()).get_exchange(TOPICS, ensure=False)
        for name in both:
            key = routing_key(topic(REGION, name, Channel.RECEIPT))
            await exchange.publish(aio_pika.Message(MARK), key)
    for name, hub in both.items():
        await until(lambda h=hub, n=name: h.heard.count(MARK) > before[n])  # type: ignore[misc]
    return sum(body != MARK for hub in both.values() for body in hub.heard)


def environment(rabbit: Rabbits, role: str, **more: str) -> dict[str, str]:
    rabbit.authority.issue(role)
    return {
        **os.environ,
        "HEADGATE_BROKER_URL": f"amqps://localhost:{rabbit.nodes[0].amqps}",
        "HEADGATE_BROKER_TLS": str(rabbit.authority.home(role)),
        **more,
    }


@contextmanager
def ingest(rabbit: Rabbits, url: str) -> Iterator[None]:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "cloud", "ingest"],
        env=environment(rabbit, "ingest", HEADGATE_DATABASE_URL=url),
    )
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(20)


def command(into: str, *words: str, region: str = REGION) -> list[str]:
    since = f"{AN_HOUR_AGO:%Y-%m-%dT%H:%M:%SZ}"
    asked = ("--region", region, "--from", since, "--into", into, "--json", *words)
    return [sys.executable, "-P", "-m", "headgate.cli", "replay", *asked]


def replay(rabbit: Rabbits, into: str, *words: str, region: str = REGION) -> dict[str, Any]:
    """Run the command to its end; return what it says last and its status."""
    done = subprocess.run(
        command(into, *words, region=region),
        env=environment(rabbit, "replay"),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    said = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return {**said, "status": done.returncode, "stderr": done.stderr}


def begin_replay(rabbit: Rabbits, into: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command(into), env=environment(rabbit, "replay"))


async def settled(connection: "asyncpg.Connection[Any]") -> Any:
    """Return how many sequences have a fate."""
    count = "select coalesce(sum(upper(r) - lower(r)), 0) from hub_ledger, unnest(received) r"
    return await connection.fetchval(count)


@pytest.fixture
async def original(rabbit: Rabbits, database_url: str) -> AsyncIterator["Original"]:
    """Let two hubs speak and ingest store it."""
    said = flood(Random(7))
    connection = await asyncpg.connect(database_url)
    async with hubs(rabbit) as both:
        with ingest(rabbit, database_url):
            for first in range(0, len(said), IN_FLIGHT):
                async with asyncio.TaskGroup() as tasks:
                    for each in said[first : first + IN_FLIGHT]:
                        tasks.create_task(both[each.hub].say(each))
            expected = 2 * TURNS + 2 + 4  # the usual, two of RIGHT's troubles, four of LEFT's
            whole = (
                f"select sum(upper(r) - lower(r)) = {expected} from hub_ledger, unnest(received) r"
            )
            await until(lambda: connection.fetchval(whole), within_s=WITHIN_S, poll_s=0.1)
        yield Original(database_url, connection, both, len(said))
    await connection.close()


@dataclass(frozen=True)
class Original:
    """A store that ingest filled, and the hubs that listen still."""

    url: str
    connection: "asyncpg.Connection[Any]"
    hubs: dict[HubId, Hub]
    messages: int


def measured(tables: Tables) -> Counter[Any]:
    """Return readings and conflicts together, each instant and its values once."""
    rows = [(at, row[0]) for at, row in tables.readings.items()]
    rows += [(at, row[0]) for (at, _), row in tables.conflicts.items()]
    return Counter(rows)


def fates(tables: Tables) -> tuple[Any, ...]:
    letters = {name: letter.reason for name, letter in tables.dead.items()}
    return tables.ledger, tables.refused, letters, tables.evidence, tables.sensors


async def differences(original: str, scratch: str) -> Comparison:
    one, other = await asyncpg.connect(original), await asyncpg.connect(scratch)
    try:
        return await compare(one, other, AN_HOUR_AGO, AN_HOUR_AGO + timedelta(hours=2))
    finally:
        await one.close()
        await other.close()


async def test_a_store_in_use_and_a_region_without_a_log_are_refused_and_nothing_is_written(
    rabbit: Rabbits, database_url: str, empty_database_url: str
) -> None:
    database = await asyncpg.connect(database_url)
    await database.execute("insert into sensors (sensor_id, hub_id, region) values (1, 'h', 'r')")
    done = replay(rabbit, database_url)
    assert (done["status"], "store in use" in done["stderr"]) == (1, True), done["stderr"]
    assert await database.fetchval("select to_regclass('replay_scratch')") is None
    await database.close()
    done = replay(rabbit, empty_database_url, region="nowhere")
    assert (done["status"], "no log.nowhere" in done["stderr"]) == (1, True), done["stderr"]


@pytest.mark.timeout(300)  # seven processes and a RabbitMQ, one after the other
@pytest.mark.spec("I10")
async def test_a_replay_equals_the_original_killed_or_not_and_tells_no_hub(
    rabbit: Rabbits, original: Original, empty_database_url: str, postgres_server: Server
) -> None:
    given = await receipts_so_far(rabbit, original.hubs)
    assert given > 0
    done = replay(rabbit, empty_database_url, "--compare", original.url)
    assert done["status"] == 0, done["stderr"]
    assert done["equal"]
    assert done["compared"] > TURNS * 2 * SENSORS
    assert (done["messages"], done["refused"], done["damaged"]) == (original.messages, 1, 1)
    assert done["batches"] + done["duplicates"] + 2 == original.messages
    assert (done["conflicts"], done["duplicate_rows"], done["refused_rows"]) == (2, 1, 2)
    first, again = await read_tables(original.url), await read_tables(empty_database_url)
    assert measured(again) == measured(first)
    assert fates(again) == fates(first)
    await _killed_midway(rabbit, original, postgres_server)
    assert await receipts_so_far(rabbit, original.hubs) == given
    await _none_could_be_given(rabbit)
    await _a_difference_is_seen(original.url, empty_database_url)


async def _none_could_be_given(rabbit: Rabbits) -> None:
    key = routing_key(topic(REGION, LEFT, Channel.RECEIPT))
    async with await rabbit.service("replay") as connection:
        exchange = await (await connection.channel()).get_exchange(TOPICS, ensure=False)
        with pytest.raises(AMQPError, match="ACCESS_REFUSED"):
            await exchange.publish(aio_pika.Message(b"receipt"), key)


async def _killed_midway(rabbit: Rabbits, original: Original, server: Server) -> None:
    """Hold up the replay at its refusal, the last message; kill it there; say it again."""
    async with server.migrated() as scratch:
        guard = await asyncpg.connect(scratch)
        async with guard.transaction():
            await guard.execute("lock table dead_letters in exclusive mode")
            worker = begin_replay(rabbit, scratch)
            await until(
                lambda: guard.fetchval("select exists (select from pg_locks where not granted)"),
                within_s=WITHIN_S,
            )
            worker.kill()
            worker.wait(20)
            before = await settled(guard)
            assert 0 < before < await settled(original.connection)
        await guard.close()
        done = replay(rabbit, scratch, "--compare", original.url)
        assert (done["status"], done["equal"], done["refused"]) == (0, True, 1), done["stderr"]
        assert done["duplicates"] >= before
        tables = await read_tables(scratch)
        assert fates(tables) == fates(await read_tables(original.url))
        assert all(len(contents) == 1 for contents in tables.log.values())


async def _a_difference_is_seen(original: str, scratch: str) -> None:
    database = await asyncpg.connect(scratch)
    try:
        # Which of two contradicting values came first is no difference.
        await database.execute(
            "with kept as (select r.sensor_id, r.timestamp, r.ph_level as was, c.metrics[1] as is_ "
            "from sensor_readings r join reading_conflicts c using (sensor_id, timestamp) limit 1),"
            " swapped as (update reading_conflicts c set metrics[1] = was from kept "
            "where c.sensor_id = kept.sensor_id) update sensor_readings r set ph_level = is_ "
            "from kept where (r.sensor_id, r.timestamp) = (kept.sensor_id, kept.timestamp)"
        )
        assert (await differences(original, scratch)).equal
        other = "sensor_id = 5 and timestamp = to_timestamp($1)"
        seconds = BEGAN / 1_000 + 7
        changed = f"update sensor_readings set ph_level = 8 where {other}"
        assert await database.execute(changed, seconds) == "UPDATE 1"
        found = await differences(original, scratch)
        assert (found.missing, found.extra) == (1, 1)
        await database.execute(f"delete from sensor_readings where {other}", seconds)
        found = await differences(original, scratch)
        assert (found.missing, found.extra) == (1, 0)
    finally:
        await database.close()


async def test_a_log_cut_since_is_refused_and_says_what_is_the_oldest(
    rabbit: Rabbits, empty_database_url: str
) -> None:
    hub = HubId("replay-cut")
    async with rabbit.api() as api:
        stream = {"name": log(CUT), "vhost": VHOST, "durable": True, "auto_delete": False}
        arguments = {"x-queue-type": "stream", "x-stream-max-segment-size-bytes": 2_000}
        await api.define({"queues": [{**stream, "arguments": arguments}]})
        await enrol(api, CUT, hub)
        (policy,) = region_definitions(CUT)["policies"]
        await api.define({"policies": [{**policy, "definition": {"max-length-bytes": 4_000}}]})
    began = datetime.now(UTC)
    async with rabbit.hub(hub) as client:
        for n in range(100):
            seal = replace(a_seal(n, hub=hub), region=CUT)
            body = encode(a_batch(seal=seal, sensors=range(50), times=[BEGAN + n] * 50))
            await client.publish(topic(CUT, hub, Channel.BATCH), body, 1)
    await rabbit.empty()
    done = replay(rabbit, empty_database_url, region=CUT)
    assert (done["status"], "was cut since" in done["stderr"]) == (1, True), done["stderr"]
    oldest = datetime.fromisoformat(done["stderr"].split("--from ")[1].split()[0])
    assert began - timedelta(seconds=1) <= oldest <= datetime.now(UTC)
    tls = rabbit.authority.issue("replay")
    host = f"amqps://localhost:{rabbit.nodes[0].amqps}"
    broker = Broker.read(host, tls.authority, tls.certificate, tls.key)
    async with opened(broker, CUT) as cut:
        with pytest.raises(OperatorError, match="cut under us"):  # as if we had been too slow
            await anext(cut.read(0, 100))
