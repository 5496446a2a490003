"""A broker over MQTT 3.1.1, through aiomqtt."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiomqtt

from wire.errors import InfrastructureError

_IN_FLIGHT_MAX: Final = 200
_QUEUED_MAX: Final = 20_000
_CONNECT_S: Final = 5.0
_PUBACK_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens and who we are there.

    Attributes:
        host: Name or address.
        port: TCP port.
        name: User name; None = nobody in particular.
        token: Password that goes with it.
    """

    host: str
    port: int
    name: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"<{self.name or 'anyone'}@{self.host}:{self.port}>"


class _Client(aiomqtt.Client):
    """A client that does not wait for the answer of a broker that hung up before giving it."""

    def _on_disconnect(self, *told: Any) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("hung up instead of answering"))
        super()._on_disconnect(*told)


class MqttSession:
    """See ``ports.Session``."""

    def __init__(self, client: aiomqtt.Client) -> None:
        """Take a connected client."""
        self._client = client

    async def publish(self, topic: str, body: bytes) -> None:
        """See ``ports.Session``. QoS 1."""
        with _translated():
            await self._client.publish(topic, body, qos=1, timeout=_PUBACK_S)
        # wait_for before Python 3.12 forgets that we were cancelled if the PUBACK comes as well.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    async def replies(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ``ports.Session``."""
        with _translated():
            async for message in self._client.messages:
                if isinstance(message.payload, bytes | bytearray):
                    yield str(message.topic), bytes(message.payload)


class MqttBroker:
    """See ``ports.Broker``."""

    def __init__(self, address: Address, client_id: str) -> None:
        """Take the address and the name of this connection, unique at the broker."""
        self._address = address
        self._client_id = client_id

    @asynccontextmanager
    async def session(self, filters: tuple[str, ...]) -> AsyncIterator[MqttSession]:
        """See ``ports.Broker``."""
        client = _Client(
            self._address.host,
            self._address.port,
            username=self._address.name,
            password=self._address.token,
            identifier=self._client_id,
            timeout=_CONNECT_S,
            max_inflight_messages=_IN_FLIGHT_MAX,
            max_queued_outgoing_messages=_QUEUED_MAX,
            max_concurrent_outgoing_calls=_QUEUED_MAX,
        )
        client.pending_calls_threshold = _IN_FLIGHT_MAX  # below it, many in flight is no news
        with _translated():
            async with client:
                for topic in filters:
                    await client.subscribe(topic, qos=1)
                yield MqttSession(client)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiomqtt.MqttError, OSError) as exc:
        raise InfrastructureError(f"broker: {exc}") from exc
