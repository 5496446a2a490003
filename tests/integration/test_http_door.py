"""``python -m gateway http`` between clients, a real broker, ingest and PostgreSQL."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import msgpack
import pytest

from gateway.core.identity import Role
from tests.integration.test_ingest_broker import ingest
from tests.support.cloud_broker import broker_for_ingest
from tests.support.gateway import Gateway
from tests.support.http_door import DATA, READING, Door, http_door
from tests.support.wait import until
from wire.batch import Batch
from wire.clock import SystemClock
from wire.codec import decode, peek
from wire.control import Receipt, encode_receipt
from wire.ids import HubId, Region
from wire.ranges import from_numbers
from wire.topics import Channel, every_hub, topic

STORE = UUID("3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11")
RECEIVED = {"status": "success", "message": "Data received"}
SAFE_WITHIN_S = 2.0


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with broker_for_ingest(tmp_path) as running:
        yield running


def client_of(door: Door) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=door.url, timeout=10, trust_env=False)


async def rows(url: str) -> list[tuple[int, float]]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch("select sensor_id, ph_level from sensor_readings order by 1")
    finally:
        await connection.close()
    return [(row["sensor_id"], round(row["ph_level"], 2)) for row in found]


def store_of(url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cloud", "store-id"],
        env={**os.environ, "HEADGATE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


class Stand:
    """Stands where the store is: keeps what comes and says receipts when told to."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.answers = True

    async def serve(self, broker: Gateway) -> None:
        async with broker.client("ingest", Role.INGEST, identifier="ingest-0") as client:
            await client.subscribe(every_hub(Channel.BATCH), qos=1)
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                self.came.append(message.payload)
                if self.answers:
                    await self.receipt(client, message.payload)

    async def receipt(self, client: Any, body: bytes) -> None:
        key = peek(body).seal.key
        settled = from_numbers([key.sequence])
        receipt = Receipt(STORE, key.epoch, settled, (), SystemClock().now_ms())
        name = topic(Region("local"), HubId("http"), Channel.RECEIPT)
        await client.publish(name, encode_receipt(receipt), 1)


@pytest.fixture
async def stand(broker: Gateway) -> AsyncIterator[Stand]:
    found = Stand()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(found.serve(broker))
        yield found
        task.cancel()


@pytest.mark.spec("E1", "I3", "I8")
async def test_a_reading_of_every_spelling_is_a_row_once_it_is_answered_202(
    broker: Gateway, database_url: str
) -> None:
    store_id = await asyncio.to_thread(store_of, database_url)
    now_s = SystemClock().now_ms() / 1_000
    with ingest(broker, database_url), http_door(broker, store_id) as door:
        await door.ready()
        async with client_of(door) as client:
            answers = [
                await client.post(DATA, json=READING),
                await client.post(DATA, json=[{"sensor_id": 7, "ph_level": 7.1}] * 1),
                await client.post(
                    DATA,
                    content=json.dumps([{"bn": "8:", "n": "pH", "v": 7.5, "t": now_s}]),
                    headers={"content-type": "application/senml+json"},
                ),
                await client.post(
                    DATA,
                    content=msgpack.packb({"sensor_id": 9, "pH": 6.9}),
                    headers={"content-type": "application/msgpack"},
                ),
            ]
            assert [(each.status_code, each.json()) for each in answers] == [(202, RECEIVED)] * 4
            assert await rows(database_url) == [(7, 7.1), (8, 7.5), (9, 6.9), (123, 7.2)]


@pytest.mark.spec("E1", "I8")
async def test_what_was_answered_202_is_stored_though_the_door_is_killed_at_work(
    broker: Gateway, database_url: str
) -> None:
    store_id = await asyncio.to_thread(store_of, database_url)
    told: set[int] = set()

    async def bring(client: httpx2.AsyncClient, sensors: range) -> None:
        for sensor in sensors:
            try:
                answer = await client.post(DATA, json={"sensor_id": sensor, "pH": 7.0})
            except httpx2.TransportError:
                return
            if answer.status_code == 202:
                told.add(sensor)

    with ingest(broker, database_url), http_door(broker, store_id) as door:
        await door.ready()
        async with client_of(door) as client, asyncio.TaskGroup() as tasks:
            for first in range(0, 8_000, 1_000):
                tasks.create_task(bring(client, range(first, first + 1_000)))
            await until(lambda: len(told) >= 40)
            door.process.kill()
    stored = {sensor for sensor, _ in await rows(database_url)}
    assert len(told) >= 40
    assert told <= stored


async def test_without_a_receipt_nobody_is_told_202_and_the_batch_goes_again(
    broker: Gateway, stand: Stand
) -> None:
    stand.answers = False
    with http_door(broker, STORE) as door:
        await door.ready()
        async with client_of(door) as client:
            began = SystemClock().steady_ms()
            late = await client.post(DATA, json=READING)
            assert SystemClock().steady_ms() - began < (SAFE_WITHIN_S + 2) * 1_000
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")
            assert late.headers["content-type"] == "application/problem+json"
            await until(lambda: len(stand.came) >= 2, within_s=20)
            assert stand.came[0] == stand.came[1]
            stand.answers = True
            assert (await client.post(DATA, json=READING)).status_code == 202


async def test_without_a_broker_nothing_is_taken(broker: Gateway) -> None:
    with http_door(broker, STORE) as door:
        await door.ready()
        async with client_of(door) as client:
            broker.process.kill()
            away: bool = await until(lambda: _away(client))
            assert away


async def _away(client: httpx2.AsyncClient) -> bool:
    answer = await client.get("/readyz")
    if answer.status_code != 503:
        return False
    refused = await client.post(DATA, json={"sensor_id": 1, "pH": 7})
    return refused.status_code == 503 and "nothing was taken" in refused.json()["detail"]


@pytest.mark.spec("I6")
async def test_a_sensor_too_fast_hears_429_and_when_to_come_again(
    broker: Gateway, stand: Stand
) -> None:
    with http_door(broker, STORE) as door:
        await door.ready()
        async with client_of(door) as client:
            async with asyncio.TaskGroup() as tasks:
                asked = [
                    tasks.create_task(client.post(DATA, json={"sensor_id": 5, "pH": 7 + n / 10}))
                    for n in range(4)
                ]
            other = await client.post(DATA, json={"sensor_id": 6, "pH": 7})
    answers = sorted((task.result() for task in asked), key=lambda each: each.status_code)
    assert [each.status_code for each in answers] == [202, 202, 429, 429]
    assert (other.status_code, answers[-1].headers["retry-after"]) == (202, "1")
    assert answers[-1].headers["content-type"] == "application/problem+json"


async def test_a_message_sent_again_under_its_key_is_the_same_reading(
    broker: Gateway, stand: Stand
) -> None:
    with http_door(broker, STORE) as door:
        await door.ready()
        async with client_of(door) as client:
            key = {"Idempotency-Key": "a-1"}
            for _ in range(2):
                again = await client.post(DATA, json=READING, headers=key)
                assert again.status_code == 202
            other = await client.post(DATA, json={"sensor_id": 1, "pH": 7}, headers=key)
            assert other.status_code == 422
    first, second = (decode(body) for body in stand.came)
    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert first.observed_at_ms.tolist() == second.observed_at_ms.tolist()


HOSTILE: list[tuple[str, bytes, int]] = [
    ("application/json", b"{", 400),
    ("application/json", b"", 400),
    ("application/json", b"\xff\xfe", 400),
    ("application/json", b"[" * 1_000 + b"]" * 1_000, 400),
    ("application/json", b"[" * 30_000 + b"]" * 30_000, 400),
    ("application/json", b'{"sensor_id":1,"pH":NaN}', 422),
    ("application/json", b'{"sensor_id":1,"pH":Infinity}', 422),
    ("application/json", b'{"sensor_id":18446744073709551616,"pH":7}', 422),
    ("application/json", b'{"sensor_id":-1,"pH":7}', 422),
    ("application/json", b'{"sensor_id":1,"pH":true}', 422),
    ("application/json", b'{"sensor_id":1}', 422),
    ("application/json", b'{"pH":7}', 422),
    ("application/json", b"[]", 422),
    ("application/json", b'{"sensor_id":1,"pH":7,"timestamp":"2025-01-28T12:00:00"}', 422),
    ("application/json", b'{"sensor_id":1,"pH":7,"timestamp":"2999-01-28T12:00:00Z"}', 422),
    ("application/json", b'[{"sensor_id":1,"pH":7},{"sensor_id":1,"pH":7},'
                         b'{"sensor_id":1,"pH":7}]', 422),
    ("application/msgpack", b"\x91" * 1_000 + b"\xc0", 422),
    ("application/msgpack", b"\xdf\xff\xff\xff\xff", 400),
    ("application/msgpack", b"\x82\xa9sensor_id\x01\xa2pH\xcb\x7f\xf8\0\0\0\0\0\0", 422),
    ("application/x-www-form-urlencoded", b'{"sensor_id":1,"pH":7}', 415),
    ("text/plain", b'{"sensor_id":1,"pH":7}', 415),
    ("application/json", b" " * 65_537, 413),
]  # fmt: skip


async def test_hostile_bodies_are_refused_with_a_problem_and_good_ones_pass_between(
    broker: Gateway, stand: Stand
) -> None:
    with http_door(broker, STORE) as door:
        await door.ready()
        async with client_of(door) as client:
            for number, (media, body, status) in enumerate(HOSTILE):
                headers = {"content-type": media}
                answer = await client.post(DATA, content=body, headers=headers)
                assert answer.status_code == status, (body[:60], answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == status
                good = await client.post(DATA, json={"sensor_id": 1_000 + number, "pH": 7})
                assert good.status_code == 202
            packed = {"content-type": "application/json", "content-encoding": "gzip"}
            assert (await client.post(DATA, content=b"x", headers=packed)).status_code == 415
            assert (await client.get(DATA)).status_code == 405
            assert (await client.post("/elsewhere", json={})).status_code == 404
            await _floods(door)
            assert (await client.post(DATA, json={"sensor_id": 1, "pH": 7})).status_code == 202


async def _floods(door: Door) -> None:
    """64 MiB, announced and unannounced, cost the door no memory and end in 413."""
    before = _resident_kib(door)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1_024):
            yield bytes(65_536)

    async with httpx2.AsyncClient(base_url=door.url, timeout=20, trust_env=False) as client:
        for content in (bytes(64 << 20), endless()):
            try:
                answer = await client.post(
                    DATA, content=content, headers={"content-type": "application/json"}
                )
            except httpx2.TransportError:
                continue  # it hung up while we were still sending
            assert answer.status_code == 413
    assert _resident_kib(door) - before < 32 * 1_024


def _resident_kib(door: Door) -> int:
    status = Path(f"/proc/{door.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
