"""A hub waits for a broker that lets a thousand in, and leaves one that stands still."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from time import monotonic

import pytest

from edge_agent.adapters.certificate import Certificate
from edge_agent.adapters.mqtt import ANSWER_WITHIN_S, Account, connect
from edge_agent.adapters.uplink import LET_IN_WITHIN_S_MAX, MqttUplink, let_in_within_s
from edge_agent.ports import LinkLostError, NobodyThereError
from tests.support.awkward import AwkwardBroker, Mood
from tests.support.builders import HUB, NORTH
from tests.support.rabbitmq import Authority
from tests.support.wait import until
from wire.ids import HubId

LIBRARY_ENDS_A_HANDSHAKE_AFTER_S = 5
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def busy() -> Iterator[socket.socket]:
    """Take connections, as the system does for a broker that has no time for them yet."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def account_at(broker: socket.socket, authority: Authority) -> Account:
    """Return a hub's account there."""
    authority.issue(HUB)
    certificate = Certificate(authority.home(HUB))
    return Account("localhost", broker.getsockname()[1], HUB, certificate=certificate)


def broker_context(authority: Authority) -> ssl.SSLContext:
    """Return what a broker answers with."""
    tls = authority.issue("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


async def test_a_handshake_the_broker_gets_to_late_is_waited_for(
    busy: socket.socket, tmp_path: Path
) -> None:
    authority, broker = Authority.make(tmp_path / "pki"), AwkwardBroker(Mood.EAGER)
    context = broker_context(authority)
    servers: list[asyncio.Server] = []

    async def serve() -> None:
        servers.append(await asyncio.start_server(broker.serve, sock=busy, ssl=context))

    loop, began_s = asyncio.get_running_loop(), monotonic()
    async with asyncio.TaskGroup() as tasks:
        loop.call_later(LIBRARY_ENDS_A_HANDSHAKE_AFTER_S + 1, lambda: tasks.create_task(serve()))
        async with connect(account_at(busy, authority), queued_max=1, within_s=30) as connection:
            assert monotonic() - began_s > LIBRARY_ENDS_A_HANDSHAKE_AFTER_S
            await connection.publish("t", b"")
    servers[0].close()


async def test_a_hub_told_to_end_while_it_waits_ends_at_once(
    busy: socket.socket, tmp_path: Path
) -> None:
    account = account_at(busy, Authority.make(tmp_path / "pki"))
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)

    async def dial() -> None:
        async with connect(account, queued_max=1, within_s=30):
            raise AssertionError("nobody answered")

    async with asyncio.TaskGroup() as tasks:
        dialling = tasks.create_task(dial())
        taken, _ = await asyncio.get_running_loop().sock_accept(busy)
        hello = await asyncio.get_running_loop().sock_recv(taken, 1)
        dialling.cancel()
    began_s = monotonic()
    threads.shutdown(wait=True)  # as at the end of the program
    assert monotonic() - began_s < 2
    taken.close()
    assert hello


async def test_a_broker_that_never_answers_is_left_in_time(
    busy: socket.socket, tmp_path: Path
) -> None:
    account = account_at(busy, Authority.make(tmp_path / "pki"))
    began_s = monotonic()
    with pytest.raises(LinkLostError, match="within 1 s"):
        async with connect(account, queued_max=1, within_s=1):
            pass
    assert 1 <= monotonic() - began_s < 4


async def test_every_attempt_in_vain_is_followed_by_a_more_patient_one(
    busy: socket.socket,
) -> None:
    account = Account("127.0.0.1", busy.getsockname()[1], HUB)
    busy.close()  # refuses at once
    uplink = MqttUplink(cycle([account]), NORTH, HubId(HUB))
    for in_vain in range(3):
        assert let_in_within_s(uplink.in_vain) == ANSWER_WITHIN_S * 2**in_vain
        with pytest.raises(NobodyThereError):
            async with uplink.open(b""):
                pass
    assert let_in_within_s(1_000) == LET_IN_WITHIN_S_MAX
    broker = AwkwardBroker(Mood.EAGER)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", account.port)
    async with server, uplink.open(b""):
        await until(lambda: broker.connected == {HUB})
        assert let_in_within_s(uplink.in_vain) == ANSWER_WITHIN_S
