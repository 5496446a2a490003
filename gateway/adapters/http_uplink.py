"""A door's way to the store over MQTT: safe is what has a receipt, a PUBACK promises nothing.

The only module of the gateway that knows the client library.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiomqtt

from gateway.core.virtual_hub import FLYING_MAX
from gateway.ports import LinkLostError
from wire.ids import HubId, Region
from wire.topics import Channel, topic

KEEPALIVE_S: Final = 15
ANSWER_WITHIN_S: Final = 8.0
GOODBYE_WITHIN_S: Final = 2.0
UNDER_WAY_MAX: Final = 2 * FLYING_MAX
RECEIPTS_QUEUED_MAX: Final = 1_024
_REFUSED: Final = 0x80

_quiet = logging.getLogger("headgate.vendor.mqtt")
_quiet.setLevel(logging.CRITICAL + 1)  # every fault reaches us as an exception, or as silence


@dataclass(frozen=True, slots=True)
class MqttUplink:
    """See ``gateway.ports.Uplink``.

    Attributes:
        host: Of the broker.
        port: Of the broker.
        region: Where the door stands.
        hub_id: Its name there, which several doors may share.
        client_id: Its own.
        token: What proves the name; never shown.
    """

    host: str
    port: int
    region: Region
    hub_id: HubId
    client_id: str
    token: str = field(repr=False)

    @classmethod
    def read(cls, url: str, token_file: Path, region: Region, number: int) -> "MqttUplink":
        """Return the way to ``mqtt://NAME@host:port``, its token read from a file.

        Raises:
            ValueError: The address says no name, host or port.
            OSError: The file cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme != "mqtt" or not (parts.hostname and parts.port and parts.username):
            raise ValueError(f"{url} is not mqtt://NAME@host:port")
        token, name = token_file.read_text().strip(), parts.username
        return cls(parts.hostname, parts.port, region, HubId(name), f"{name}-{number}", token)

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator["MqttLink"]:
        """See ``Uplink``."""
        client = self._client(will)
        with _translated():
            await client.__aenter__()
        try:
            with _translated():
                granted = await client.subscribe(self._topic(Channel.RECEIPT), qos=1)
            if any((code if isinstance(code, int) else code.value) >= _REFUSED for code in granted):
                raise LinkLostError("the broker refuses us our receipts")
            yield MqttLink(client, self.region, self.hub_id)
        finally:
            # A link that has gone silent takes no goodbye; the library would wait for one.
            with suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await client.__aexit__(None, None, None)
            heed_cancellation()

    def _topic(self, channel: Channel) -> str:
        return topic(self.region, self.hub_id, channel)

    def _client(self, will: bytes) -> aiomqtt.Client:
        client = _Client(
            self.host,
            self.port,
            identifier=self.client_id,
            username=self.hub_id,
            password=self.token,
            clean_session=True,
            keepalive=KEEPALIVE_S,
            timeout=ANSWER_WITHIN_S,
            will=aiomqtt.Will(self._topic(Channel.STATUS), will, qos=1, retain=True),
            max_queued_incoming_messages=RECEIPTS_QUEUED_MAX,
            max_inflight_messages=UNDER_WAY_MAX,
            logger=_quiet,
        )
        client.pending_calls_threshold = UNDER_WAY_MAX
        return client


@dataclass(frozen=True, slots=True)
class MqttLink:
    """See ``gateway.ports.Link``."""

    client: aiomqtt.Client
    region: Region
    hub_id: HubId

    async def send(self, body: bytes) -> bool:
        """See ``Link``."""
        await self.say(Channel.BATCH, body)
        return False

    async def say(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """See ``Link``."""
        with _translated():
            await self.client.publish(
                topic(self.region, self.hub_id, channel), body, qos=1, retain=retain
            )

    async def receipts(self) -> AsyncIterator[bytes]:
        """See ``Link``."""
        with _translated():
            async for message in self.client.messages:
                if isinstance(message.payload, bytes):
                    yield message.payload


class _Client(aiomqtt.Client):
    """A client that does not wait for the answer of a broker that hung up before giving it."""

    def _on_disconnect(self, *told: Any) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("hung up instead of answering"))
        super()._on_disconnect(*told)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiomqtt.MqttError, OSError) as exc:
        heed_cancellation()
        raise LinkLostError(str(exc)) from exc
    heed_cancellation()


def heed_cancellation() -> None:
    """Raise the cancellation that a library may have swallowed.

    Before Python 3.12 ``asyncio.wait_for`` forgets that its task was told to end if the answer
    comes as well; a failure that comes as well replaces it. The task itself still knows.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
