"""The sensors' broker inside the agent, spoken to by a real client and by raw sockets."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import aiomqtt
import pytest

from edge_agent.adapters.listener import CONTROL_PACKETS_MAX, PACKET_BYTES_MAX, EmbeddedListener
from edge_agent.core.pace import Pace
from tests.support.postgres import free_port
from tests.support.wait import until
from wire.clock import Clock, SystemClock
from wire.ids import SensorId

pytestmark = pytest.mark.spec("I3", "I11")

CONNECT = bytes.fromhex("10 10 0004 4d515454 04 02 003c 0004 70726265")


@dataclass
class Listening:
    """A listener and all it took."""

    port: int
    listener: EmbeddedListener
    counts: Counter[str]
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, topic: str, body: bytes) -> int:
        await self.open.wait()
        self.taken.append((topic, body))
        return 1

    def client(self, identifier: str = "probe", **options: object) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", self.port, identifier=identifier, timeout=5, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def listening(
    pace: Pace | None = None, clock: Clock | None = None
) -> AsyncIterator[Listening]:
    port, counts = free_port(), Counter[str]()
    listener = EmbeddedListener("127.0.0.1", port, clock or SystemClock(), counts, pace)
    one = Listening(port, listener, counts)
    one.open.set()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.listener.run(one.accept))
        await until(lambda: _answers(port))
        try:
            yield one
        finally:
            running.cancel()


def _answers(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
        return True
    return False


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_reading_is_handed_over_at_every_quality_of_service(qos: int) -> None:
    async with listening() as hub, hub.client() as probe:
        await probe.publish("sensors/7/data", b"{}", qos=qos)
        await until(lambda: hub.taken == [("sensors/7/data", b"{}")])


async def test_a_status_reaches_exactly_the_sensors_that_listen() -> None:
    async with listening() as hub, hub.client("one") as one, hub.client("every") as every:
        await one.subscribe("sensors/7/status")
        await every.subscribe("sensors/+/status")
        await hub.listener.tell([(SensorId(7), b"seven"), (SensorId(8), b"eight")])
        heard = [await anext(aiter(every.messages)) for _ in range(2)]
        assert [message.payload for message in heard] == [b"seven", b"eight"]
        assert (await anext(aiter(one.messages))).payload == b"seven"
        assert not len(one.messages)


async def test_a_sensor_can_neither_forge_a_status_nor_listen_to_others_readings() -> None:
    async with listening() as hub, hub.client("victim") as victim:
        await victim.subscribe("sensors/7/status")
        for forbidden in ("sensors/+/data", "#", "sensors/#", "+/7/data"):
            codes = await victim.subscribe(forbidden)
            assert [code.value for code in codes if not isinstance(code, int)] == [0x80]
        await _forge(hub.port)
        await until(lambda: hub.listener.connections == 1)
        async with hub.client("late") as late:
            await late.subscribe("sensors/7/status")
            await hub.listener.tell([(SensorId(7), b"true")])
            for told in (victim, late):
                assert (await anext(aiter(told.messages))).payload == b"true"


async def _forge(port: int) -> None:
    """Say a status, and leave it as a retained will by dying."""
    status = b"\x00\x10sensors/7/status"
    rest = bytes.fromhex("0004 4d515454 04 2e 003c 0006") + b"forger" + status + b"\x00\x06forged"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(bytes((0x10, len(rest))) + rest + b"\x30\x18" + status + b"forged")
    await reader.read(4)
    writer.transport.abort()


async def test_when_nothing_more_can_be_taken_the_sensor_waits_for_its_acknowledgement() -> None:
    async with listening() as hub, hub.client() as probe, asyncio.TaskGroup() as tasks:
        hub.open.clear()
        sending = tasks.create_task(probe.publish("sensors/7/data", b"{}", qos=1))
        await asyncio.wait([sending], timeout=0.2)
        assert not sending.done()
        hub.open.set()
        await until(sending.done)


async def test_one_connection_brings_no_more_than_its_pace_and_others_go_on() -> None:
    clock = SystemClock()
    async with listening(Pace(per_s=100)) as hub, hub.client("a") as a, hub.client("b") as b:
        since_ms = clock.steady_ms()
        for _ in range(150):
            await a.publish("sensors/1/data", b"{}", qos=0)
        await b.publish("sensors/2/data", b"{}", qos=1)
        assert len(hub.taken) < 150
        await until(lambda: len(hub.taken) == 151)
        assert clock.steady_ms() - since_ms >= 450


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"\x30\x02\x00\x00", id="publish before connect"),
        pytest.param(b"\x10\xff\xff\xff\xff\x01", id="a length of five bytes"),
        pytest.param(CONNECT + b"\x30\xff\xff\xff\x7f", id="a packet of 256 MiB"),
        pytest.param(CONNECT + b"\x36\x02\x00\x00", id="a publish of QoS 3"),
        pytest.param(CONNECT + b"\x32\x03\x00\x05a", id="a topic longer than its packet"),
        pytest.param(CONNECT + b"\x30\x04\x00\x02\xff\xfe", id="a topic that is no text"),
        pytest.param(CONNECT + CONNECT, id="two connects"),
        pytest.param(CONNECT + b"\xf0\x00", id="a reserved packet"),
        pytest.param(CONNECT + b"\x82\x00", id="an empty subscribe"),
        pytest.param(CONNECT + b"\x82\x06\x00\x01\x00\xffab", id="a subscribe cut short"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    ],
)
async def test_nonsense_costs_its_own_connection_only(bad: bytes) -> None:
    async with listening() as hub, hub.client() as neighbour:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(bad)
        writer.write_eof()
        async with asyncio.timeout(5):
            while await reader.read(1_024):
                pass
        writer.close()
        await neighbour.publish("sensors/7/data", b"{}", qos=1)
        assert hub.taken == [("sensors/7/data", b"{}")]
        await until(lambda: hub.listener.connections == 1)


async def test_churn_costs_nobody_else_anything() -> None:
    async with listening() as hub, hub.client("steady") as steady:
        async with asyncio.TaskGroup() as tasks:
            for n in range(8):
                tasks.create_task(_come_and_go(hub, f"churn-{n % 4}"))
            for _ in range(50):
                await steady.publish("sensors/1/data", b"{}", qos=1)
        assert len([one for one in hub.taken if one[0] == "sensors/1/data"]) == 50
        await until(lambda: hub.listener.connections == 1)


async def _come_and_go(hub: Listening, identifier: str) -> None:
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        name = identifier.encode()
        rest = bytes.fromhex("0004 4d515454 04 02 003c") + len(name).to_bytes(2, "big") + name
        writer.write(bytes((0x10, len(rest))) + rest)
        writer.write(b"\x82\x15\x00\x01\x00\x10sensors/3/status\x00")
        await reader.read(4)
        writer.transport.abort()


class Hasty(SystemClock):
    """Waits a twentieth of a second instead of long."""

    async def sleep_ms(self, wait_ms: int) -> None:
        await super().sleep_ms(min(wait_ms, 50))


async def test_a_listener_that_stops_answering_is_started_anew() -> None:
    async with listening(clock=Hasty()) as hub:
        broker = hub.listener._broker
        assert broker is not None
        broker._servers.clear()  # what churn does to it: connections are taken and go nowhere
        await until(lambda: hub.counts["listener_restarts"] == 1, within_s=20)
        await until(lambda: _answers(hub.port))
        async with hub.client() as probe:
            await probe.publish("sensors/7/data", b"{}", qos=1)
        assert hub.taken == [("sensors/7/data", b"{}")]


async def test_limits_fit_what_a_sensor_may_send() -> None:
    body = b"x" * (PACKET_BYTES_MAX - 200)
    async with listening() as hub, hub.client() as probe:
        await probe.publish("sensors/7/data", body, qos=1)
        assert hub.taken == [("sensors/7/data", body)]
        for _ in range(2 * CONTROL_PACKETS_MAX):
            await probe.subscribe("sensors/7/status")
