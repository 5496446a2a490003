"""What a hub blames when a broker lets it not in: its certificate only if the broker says so."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from certs.core.profile import Role
from edge_agent.adapters.certificate import Certificate, is_about_us
from edge_agent.adapters.mqtt import Account, connect
from edge_agent.ports import LinkLostError
from tests.support.builders import HUB
from tests.support.certs import WITHIN_S, Platform

pytestmark = pytest.mark.spec("U8")
BLAMES_ITSELF = "does not take our certificate"
CONNACK = b"\x20\x02\x00"
UNAVAILABLE, NOT_AUTHORISED = b"\x03", b"\x05"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Platform(tmp_path_factory.mktemp("refusals") / "home").found()


@asynccontextmanager
async def broker(serve: Serve, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    """Serve one thing to whoever connects; hang up after it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def said(port: int, certificate: Certificate) -> str:
    account = Account("localhost", port, f"{HUB}.0", certificate=certificate)
    with pytest.raises(LinkLostError) as refused:
        async with connect(account, queued_max=1):
            pass
    return str(refused.value)


def certificate(platform: Platform) -> Certificate:
    return Certificate(platform.issue(Role.HUB, HUB))


async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(64)


def connack(code: bytes) -> Serve:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(CONNACK + code)
        await writer.drain()

    return answer


async def test_a_broker_that_goes_within_the_handshake_is_not_our_certificates_fault(
    platform: Platform,
) -> None:
    async with broker(nothing, None) as port:
        heard = await said(port, certificate(platform))
    assert BLAMES_ITSELF not in heard
    assert "EOF" in heard


async def test_a_broker_that_goes_before_it_answers_is_not_our_certificates_fault(
    platform: Platform,
) -> None:
    for serve in (nothing, connack(UNAVAILABLE)):
        async with broker(serve, platform.door()) as port:
            assert BLAMES_ITSELF not in await said(port, certificate(platform))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_broker_that_does_not_take_our_certificate_is_believed(
    platform: Platform, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    stranger = Platform(tmp_path / "home").found()
    door = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    door.minimum_version = door.maximum_version = version
    folder = platform.issue(Role.SERVER, "door")
    door.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    door.load_verify_locations(stranger.trust)
    door.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WITHIN_S)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(_refuse, listener, door))
            heard = await said(listener.getsockname()[1], certificate(platform))
    assert BLAMES_ITSELF in heard


def _refuse(listener: socket.socket, door: ssl.SSLContext) -> None:
    """Let one client's handshake fail as OpenSSL does: asyncio would swallow the alert."""
    plain, _ = listener.accept()
    plain.settimeout(WITHIN_S)
    with door.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as link:
        with suppress(ssl.SSLError):
            link.do_handshake()
        with suppress(OSError):
            while link.read(64):
                pass


async def test_a_broker_that_knows_nobody_of_our_name_is_believed(platform: Platform) -> None:
    async with broker(connack(NOT_AUTHORISED), platform.door()) as port:
        assert BLAMES_ITSELF in await said(port, certificate(platform))


@pytest.mark.parametrize(
    ("reason", "is_ours"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", True),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", True),
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("TLSV1_ALERT_INTERNAL_ERROR", False),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", False),
        ("UNEXPECTED_EOF_WHILE_READING", False),
        ("CERTIFICATE_VERIFY_FAILED", False),
        (None, False),
    ],
)
def test_only_an_alert_about_certificates_is_about_ours(reason: str | None, is_ours: bool) -> None:
    assert is_about_us(reason) == is_ours
