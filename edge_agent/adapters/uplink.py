"""The uplink over MQTT: the hub under its own id, on its own literal topics."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from edge_agent.adapters.certificate import Certificate
from edge_agent.adapters.mqtt import (
    ANSWER_WITHIN_S,
    UNDER_WAY_MAX,
    Account,
    Connection,
    Will,
    connect,
)
from edge_agent.core.outbox import URGENT_WINDOW, WINDOW_MAX
from edge_agent.ports import Link, LinkLostError
from wire.ids import HubId, Region
from wire.limits import RESEND_AFTER_MS
from wire.topics import Channel, topic

RECEIPTS_QUEUED_MAX: Final = 1_024
LET_IN_WITHIN_S_MAX: Final = 32.0

# A link that swallows a batch is known to be dead before the batch would be sent again over it.
assert ANSWER_WITHIN_S * 1_000 < RESEND_AFTER_MS
assert WINDOW_MAX + URGENT_WINDOW < UNDER_WAY_MAX


@dataclass(slots=True)
class MqttUplink:
    """``Uplink`` to any MQTT 3.1.1 broker.

    A node that stands still is left soon for another. One that is slow because everybody comes at
    once is given twice the time after each attempt in vain: handshakes broken off half way would
    cost it what it lacks, and let nobody in.

    Attributes:
        accounts: The broker's nodes, to be tried one after another without end.
        region: Where the hub stands: the first part of its topics.
        hub_id: The second part.
        in_vain: Attempts in a row that were not let in.
    """

    accounts: Iterator[Account]
    region: Region
    hub_id: HubId
    in_vain: int = 0

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator[Link]:
        """See ``Uplink``."""
        last_will = Will(topic(self.region, self.hub_id, Channel.STATUS), will)
        account, within_s = next(self.accounts), let_in_within_s(self.in_vain)
        self.in_vain += 1
        async with connect(
            account, queued_max=RECEIPTS_QUEUED_MAX, within_s=within_s, will=last_will
        ) as connection:
            # QoS 0: a receipt that is lost is asked for, and the cheaper queue counts for many.
            receipts = topic(self.region, self.hub_id, Channel.RECEIPT)
            await connection.subscribe(receipts, qos=0)
            self.in_vain = 0
            yield _MqttLink(connection, self.region, self.hub_id, account.certificate)


def let_in_within_s(in_vain: int) -> float:
    """Return how long a broker may take to let us in after so many attempts in vain, seconds."""
    return min(ANSWER_WITHIN_S * (1 << min(in_vain, 10)), LET_IN_WITHIN_S_MAX)


@dataclass(frozen=True, slots=True)
class _MqttLink:
    connection: Connection
    region: Region
    hub_id: HubId
    certificate: Certificate | None

    async def publish(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """See ``Link``.

        The hub's health goes out every minute: the moment to see whether its certificate has been
        renewed. A link that began with the one before is then given up, and another is opened.
        """
        renewed = channel is Channel.HEALTH and self.certificate and self.certificate.is_renewed()
        if renewed:
            raise LinkLostError("our certificate was renewed: connecting again to show it")
        name = topic(self.region, self.hub_id, channel)
        await self.connection.publish(name, body, retain=retain)

    async def incoming(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """See ``Link``."""
        own = topic(self.region, self.hub_id, Channel.RECEIPT)
        async for name, body in self.connection.messages():
            if name == own:
                yield Channel.RECEIPT, body
