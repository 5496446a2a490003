"""One connection to an MQTT 3.1.1 broker: every wait with a deadline, every failure one error.

The only module that knows the client library. It acknowledges what it has merely queued, and a
broker acknowledges what it may drop: nobody above may take either for more than flow control.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import aiomqtt

from edge_agent.adapters.certificate import Certificate, is_about_us
from edge_agent.adapters.handshake import Handshake
from edge_agent.ports import LinkLostError, NobodyThereError
from edge_agent.tasks import heed_cancellation

KEEPALIVE_S: Final = 15
ANSWER_WITHIN_S: Final = 8.0
GOODBYE_WITHIN_S: Final = 2.0
UNDER_WAY_MAX: Final = 512
REFUSED: Final = 0x80
_UNAVAILABLE: Final = 0x88
# Else a small packet waits for a delayed acknowledgement of the one before it: up to 40 ms.
_AT_ONCE: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)

_quiet = logging.getLogger("headgate.vendor.mqtt")
_quiet.setLevel(logging.CRITICAL + 1)  # every fault reaches us as an exception, or as silence


@dataclass(frozen=True, slots=True)
class Account:
    """Which broker, and who we are there.

    Attributes:
        host: Of the broker.
        port: Of the broker.
        client_id: Ours; a second connection with it ends the first.
        username: None for an anonymous one.
        password: Never shown.
        certificate: What we prove ourselves with; None speaks in the clear.
    """

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = None
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        """Show where to, never the password."""
        return f"<Account {self.client_id} at {self.host}:{self.port}>"


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says, retained, if the connection breaks."""

    topic: str
    body: bytes


class _HungUpError(aiomqtt.MqttError):
    """The broker ended the connection where it should have answered.

    Attributes:
        alert: What TLS says it said, if anything.
    """

    def __init__(self, alert: str | None) -> None:
        super().__init__("hung up instead of answering")
        self.alert = alert


class _Client(aiomqtt.Client):
    """A client that does not wait for the answer of a broker that hung up before giving it."""

    _alert: str | None = None

    async def dial(self, within_s: float) -> None:
        """Connect.

        Raises:
            MqttError: Not within that time.
        """
        answer_within_s, self.timeout = self.timeout, within_s
        try:
            async with asyncio.timeout(within_s):
                await self.__aenter__()
        except TimeoutError as exc:
            raise aiomqtt.MqttError(f"not let in within {within_s:.0f} s") from exc
        finally:
            self.timeout = answer_within_s

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        self._alert = getattr(sock, "refusal", None)
        super()._on_socket_close(client, userdata, sock)

    def _on_disconnect(self, *told: Any) -> None:
        if not self._connected.done():
            self._connected.set_exception(_HungUpError(self._alert))
        super()._on_disconnect(*told)


class Connection:
    """A connection that stands, until a call raises ``LinkLostError``."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Ask for a topic.

        Raises:
            LinkLostError: Refused, or unanswered within the deadline.
        """
        with _translated():
            granted = await self._client.subscribe(topic_filter, qos=qos)
        if any((code if isinstance(code, int) else code.value) >= REFUSED for code in granted):
            raise LinkLostError(f"the broker refuses a subscription to {topic_filter}")

    async def publish(self, topic: str, body: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Return once the broker has it (QoS 1), or it is on its way (QoS 0).

        Raises:
            LinkLostError: Not within the deadline.
        """
        with _translated():
            await self._client.publish(topic, body, qos=qos, retain=retain)

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield topic and body of what arrives, until cancelled.

        Raises:
            LinkLostError: The connection broke.
        """
        with _translated():
            async for message in self._client.messages:
                if isinstance(message.payload, bytes):
                    yield message.topic.value, message.payload


@asynccontextmanager
async def connect(
    account: Account,
    *,
    queued_max: int,
    within_s: float = ANSWER_WITHIN_S,
    will: Will | None = None,
    queue: Callable[..., asyncio.Queue[Any]] = asyncio.Queue,
) -> AsyncIterator[Connection]:
    """Open a clean-session connection and close it at the end.

    Args:
        account: Where and who.
        queued_max: Messages that may wait unread; further ones are thrown away.
        within_s: How long the broker may take to let us in.
        will: For the broker to publish if the connection breaks.
        queue: Makes the queue they wait in, given ``maxsize``.

    Raises:
        LinkLostError: On entry, within the deadline, if that cannot be.
    """
    certificate, handshake = account.certificate, Handshake(within_s)
    client = _Client(
        account.host,
        account.port,
        tls_context=certificate.context(handshake) if certificate else None,
        identifier=account.client_id,
        username=account.username,
        password=account.password,
        clean_session=True,
        keepalive=KEEPALIVE_S,
        timeout=ANSWER_WITHIN_S,
        socket_options=_AT_ONCE,
        will=aiomqtt.Will(will.topic, will.body, qos=1, retain=True) if will else None,
        queue_type=cast("type[asyncio.Queue[aiomqtt.Message]]", queue),
        max_queued_incoming_messages=queued_max,
        max_inflight_messages=UNDER_WAY_MAX,
        logger=_quiet,
    )
    client.pending_calls_threshold = UNDER_WAY_MAX
    try:
        with _translated(certificate):
            await client.dial(within_s)
    except BaseException:
        handshake.give_up()
        raise
    try:
        yield Connection(client)
    finally:
        # A link that has gone silent takes no goodbye; the library would wait for one.
        with suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(GOODBYE_WITHIN_S):
                await client.__aexit__(None, None, None)
        heed_cancellation()


@contextmanager
def _translated(certificate: Certificate | None = None) -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as exc:
        heed_cancellation()
        if isinstance(exc.__context__, ConnectionRefusedError):
            raise NobodyThereError(str(exc)) from exc
        advice = _advice(exc, certificate) if certificate else ""
        raise LinkLostError(f"{exc}{advice}") from exc
    heed_cancellation()


def _advice(refusal: aiomqtt.MqttError, certificate: Certificate) -> str:
    """Return what to do if a connection was not opened; nothing where the network is at fault."""
    cause = refusal.__context__  # what the library made its own error of
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"; {certificate.stranger()}"
    match refusal:
        case aiomqtt.MqttCodeError(rc=code):
            is_no = code != _UNAVAILABLE
        case _HungUpError(alert=alert):
            is_no = is_about_us(alert)
        case _:
            is_no = isinstance(cause, ssl.SSLError) and is_about_us(cause.reason)
    return f"; {certificate.refused()}" if is_no else ""
