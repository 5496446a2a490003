"""The embedded broker as a process: who gets in, who hears what, what waits and what is bounded."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from gateway.core.identity import Role
from gateway.core.limits import OFFLINE_BATCH_BYTES, OFFLINE_BATCHES_MIN, PACKET_BYTES_MAX
from tests.support.gateway import Gateway, gateway
from tests.support.wait import until

BATCH = "headgate/1/north/hub-1/batch"
RECEIPT = "headgate/1/north/hub-1/receipt"
STATUS = "headgate/1/north/hub-1/status"
EVERY_BATCH = "headgate/1/+/+/batch"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Gateway]:
    with gateway(tmp_path) as running:
        await until(lambda: answers(running.port))
        yield running


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


async def heard(client: aiomqtt.Client, count: int, within_s: float = 10) -> list[aiomqtt.Message]:
    got: list[aiomqtt.Message] = []
    async with asyncio.timeout(within_s):
        async for message in client.messages:
            got.append(message)
            if len(got) == count:
                break
    return got


async def test_a_batch_reaches_ingest_and_the_receipt_comes_back(broker: Gateway) -> None:
    async with (
        broker.client("hub-1", Role.HUB) as hub,
        broker.client("ingest", Role.INGEST, identifier="ingest-0") as ingest,
    ):
        await ingest.subscribe(EVERY_BATCH, qos=1)
        await hub.subscribe(RECEIPT, qos=1)
        await hub.publish(BATCH, b"rows", qos=1)
        (batch,) = await heard(ingest, 1)
        await ingest.publish(RECEIPT, b"stored", qos=1)
        (receipt,) = await heard(hub, 1)
    assert (batch.payload, receipt.payload) == (b"rows", b"stored")


@pytest.mark.parametrize(
    ("name", "token", "client_id"),
    [("hub-1", "wrong", "hub-1"), ("nobody", "x", "nobody"), ("hub-1", None, "ingest-0")],
)
async def test_strangers_and_impostors_stay_outside(
    broker: Gateway, name: str, token: str | None, client_id: str
) -> None:
    good = broker.enrol("hub-1", Role.HUB)
    client = aiomqtt.Client(
        "127.0.0.1", broker.port, username=name, password=token or good, identifier=client_id
    )
    with pytest.raises(aiomqtt.MqttError):
        async with client:
            pass


async def test_a_will_on_anothers_topic_keeps_its_author_outside(broker: Gateway) -> None:
    will = aiomqtt.Will("headgate/1/north/hub-2/status", b"down", retain=True)
    with pytest.raises(aiomqtt.MqttError):
        async with broker.client("hub-1", Role.HUB, will=will):
            pass


async def test_foreign_topics_and_wildcards_are_refused(broker: Gateway) -> None:
    async with (
        broker.client("hub-1", Role.HUB) as hub,
        broker.client("ingest", Role.INGEST) as ingest,
    ):
        for wish in ("headgate/1/north/hub-2/receipt", "#", "headgate/1/+/+/receipt", "$SYS/#"):
            assert await hub.subscribe(wish, qos=1) in ((128,), [128])
        await ingest.subscribe(EVERY_BATCH, qos=1)
        await hub.publish("headgate/1/north/hub-2/batch", b"forged", qos=1)
        await hub.publish("$SYS/x", b"forged", qos=1)
        await hub.publish(BATCH, b"own", qos=1)
        (only,) = await heard(ingest, 1)
    assert only.payload == b"own"


async def test_an_offline_stage_finds_everything_when_it_returns(broker: Gateway) -> None:
    stage = {"identifier": "ingest-0", "clean_session": False}
    async with broker.client("ingest", Role.INGEST, **stage) as ingest:
        await ingest.subscribe(EVERY_BATCH, qos=1)
    body = bytes(OFFLINE_BATCH_BYTES - 4)
    async with broker.client("hub-1", Role.HUB, max_inflight_messages=128) as hub:
        for start in range(0, OFFLINE_BATCHES_MIN, 128):
            async with asyncio.TaskGroup() as tasks:
                for n in range(start, start + 128):
                    tasks.create_task(hub.publish(BATCH, struct.pack("!I", n) + body, qos=1))
    async with broker.client("ingest", Role.INGEST, **stage) as ingest:
        got = await heard(ingest, OFFLINE_BATCHES_MIN, within_s=60)
    numbers = {struct.unpack("!I", bytes(m.payload)[:4])[0] for m in got}
    assert numbers == set(range(OFFLINE_BATCHES_MIN))


async def test_status_is_kept_for_refresh_and_heard_by_no_other_hub(broker: Gateway) -> None:
    async with broker.client("hub-1", Role.HUB) as hub:
        await hub.publish(STATUS, b"up", qos=1, retain=True)
        await hub.publish(BATCH, b"never kept", qos=1, retain=True)
    async with (
        broker.client("refresh", Role.REFRESH) as refresh,
        broker.client("ingest", Role.INGEST) as ingest,
    ):
        await refresh.subscribe("headgate/1/+/+/status", qos=1)
        (kept,) = await heard(refresh, 1)
        assert (kept.payload, kept.retain) == (b"up", True)
        await ingest.subscribe(EVERY_BATCH, qos=1)
        async with broker.client("hub-2", Role.HUB, clean_session=False):
            pass
        async with broker.client("hub-2", Role.HUB, clean_session=False) as other:
            await other.subscribe("headgate/1/north/hub-2/receipt", qos=1)
            await ingest.publish("headgate/1/north/hub-2/receipt", b"first", qos=1)
            (only,) = await heard(other, 1)
            assert only.payload == b"first"
            await other.publish("headgate/1/north/hub-2/batch", b"fresh", qos=1)
            (batch,) = await heard(ingest, 1)
            assert batch.payload == b"fresh"


async def test_what_a_stage_did_not_acknowledge_comes_again(broker: Gateway) -> None:
    with raw(broker, "ingest", Role.INGEST, clean=False) as ingest:
        wish = b"\x00\x01" + prefixed(EVERY_BATCH.encode()) + b"\x01"
        ingest.sendall(b"\x82" + length(len(wish)) + wish)
        assert ingest.recv(5) == b"\x90\x03\x00\x01\x01"
        async with broker.client("hub-1", Role.HUB) as hub:
            await hub.publish(BATCH, b"rows", qos=1)
        assert ingest.recv(1) == b"\x32"  # delivered, and cut before it is acknowledged
    async with broker.client("ingest", Role.INGEST, clean_session=False) as again:
        (batch,) = await heard(again, 1)
    assert batch.payload == b"rows"


async def test_a_lost_hub_leaves_its_will(broker: Gateway) -> None:
    async with broker.client("refresh", Role.REFRESH) as refresh:
        await refresh.subscribe("headgate/1/+/+/status", qos=1)
        with raw(broker, "hub-1", will=(STATUS, b"down")) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        (will,) = await heard(refresh, 1)
    assert will.payload == b"down"


async def test_an_oversized_packet_is_cut_off_before_it_is_buffered(broker: Gateway) -> None:
    before = resident_bytes(broker)
    with raw(broker, "hub-1") as connection:
        connection.settimeout(5)
        connection.sendall(b"\x32" + length(64 * 1024 * 1024))
        with pytest.raises(OSError):  # noqa: PT011  # reset or broken pipe, as the kernel likes
            connection.sendall(bytes(64 * 1024 * 1024))
    assert resident_bytes(broker) - before < 8 * 1024 * 1024
    with raw(broker, "hub-1") as connection:
        connection.sendall(publish(BATCH, bytes(PACKET_BYTES_MAX - 128)))
        assert connection.recv(4) == b"\x40\x02\x00\x01"


async def test_a_silent_connection_is_closed_after_its_keep_alive(broker: Gateway) -> None:
    with raw(broker, "hub-1", keep_alive_s=1) as connection:
        connection.settimeout(10)
        await asyncio.to_thread(expect_end, connection)


async def test_the_same_client_again_replaces_its_dead_connection(broker: Gateway) -> None:
    with raw(broker, "hub-1") as former:
        async with (
            broker.client("ingest", Role.INGEST) as ingest,
            broker.client("hub-1", Role.HUB, clean_session=False) as hub,
        ):
            former.settimeout(5)
            await asyncio.to_thread(expect_end, former)
            await hub.subscribe(RECEIPT, qos=1)
            await ingest.publish(RECEIPT, b"stored", qos=1)
            (receipt,) = await heard(hub, 1)
    assert receipt.payload == b"stored"


async def test_a_revoked_hub_is_shown_out(broker: Gateway) -> None:
    with raw(broker, "hub-1") as connection:
        (broker.folder / "identities" / "hub-1.json").unlink()
        connection.settimeout(10)
        await asyncio.to_thread(expect_end, connection)


async def test_churn_of_connections_breaks_nothing(broker: Gateway) -> None:
    async def come_and_go(name: str) -> None:
        for _ in range(10):
            async with broker.client(name, Role.HUB) as hub:
                await hub.subscribe(f"headgate/1/north/{name}/receipt", qos=1)
                await hub.publish(f"headgate/1/north/{name}/batch", name.encode(), qos=1)

    async with broker.client("ingest", Role.INGEST) as ingest:
        await ingest.subscribe(EVERY_BATCH, qos=1)
        async with asyncio.TaskGroup() as tasks:
            for n in range(8):
                tasks.create_task(come_and_go(f"hub-{n}"))
        got = await heard(ingest, 80)
    assert len(got) == 80
    assert broker.process.poll() is None
    assert "Traceback" not in (broker.folder / "gateway.log").read_text()


# a client that follows no rules


def raw(
    broker: Gateway,
    name: str,
    role: Role = Role.HUB,
    *,
    clean: bool = True,
    keep_alive_s: int = 60,
    will: tuple[str, bytes] | None = None,
) -> socket.socket:
    token = broker.enrol(name, role)
    flags = 0xC0 | (0x02 if clean else 0) | (0x2C if will else 0)
    fields = [name.encode(), *([will[0].encode(), will[1]] if will else [])]
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack("!H", keep_alive_s)
    body += b"".join(map(prefixed, [*fields, name.encode(), token.encode()]))
    connection = socket.create_connection(("127.0.0.1", broker.port), timeout=5)
    connection.sendall(b"\x10" + length(len(body)) + body)
    assert connection.recv(4) == b"\x20\x02\x00\x00"
    return connection


def publish(name: str, payload: bytes) -> bytes:
    body = prefixed(name.encode()) + b"\x00\x01" + payload
    return b"\x32" + length(len(body)) + body


def prefixed(field: bytes) -> bytes:
    return struct.pack("!H", len(field)) + field


def length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = divmod(number, 128)
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def expect_end(connection: socket.socket) -> None:
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return


def resident_bytes(broker: Gateway) -> int:
    pages = Path(f"/proc/{broker.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4_096
