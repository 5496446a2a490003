"""Refresh: hubs say where they stand; the register and the ledger follow."""

from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter

from cloud.core.arrivals import Lent
from cloud.ports import Inbox
from cloud.refresh.ports import HubRegister
from cloud.steps import Steps
from wire.control import decode_health
from wire.errors import MalformedMessageError
from wire.topics import Channel, Lane, lane_topic, parse

_MESSAGES: Final = Counter("headgate_refresh_messages", "Messages taken, by kind", ["kind"])
_log = structlog.get_logger(__name__)


class Refresh:
    """The one path from what hubs say of themselves to what we show of them."""

    def __init__(self, inbox: Inbox, register: HubRegister, steps: Steps) -> None:
        """Take the neighbours; own none of them."""
        self._inbox = inbox
        self._register = register
        self._steps = steps

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            InfrastructureError: The broker is gone; a new subscription brings the births back.
        """
        async for deliveries in self._inbox.deliveries():
            for delivery in deliveries:
                await self._steps.done("note", partial(self._handle, delivery))
                await delivery.ack()

    async def _handle(self, delivery: Lent) -> None:
        if delivery.topic == lane_topic(Lane.MEDIUM):
            _MESSAGES.labels("fresh").inc()
            return
        try:
            region, hub_id, channel = parse(delivery.topic)
            health = decode_health(delivery.body)
        except MalformedMessageError as exc:
            _MESSAGES.labels("malformed").inc()
            _log.warning("health unreadable", topic=delivery.topic, why=str(exc))
            return
        if channel is Channel.HEALTH:
            note = self._register.reported
        elif health.online:
            note = self._register.born
        else:
            note = self._register.gone
        await note(region, hub_id, health)
        _MESSAGES.labels(note.__name__).inc()
