"""The embedded broker: amqtt's protocol, our routing, our rules, our bounds.

amqtt keeps sessions and speaks MQTT. Replaced here is what would lose, leak or hoard messages:
its queues (what was acknowledged is gone when its sender leaves), its routing (unbounded tasks,
five seconds for a PUBACK, then the message is gone), its retained messages (sent to every client
that connects, whoever subscribed) and its checks (by plugin, a task a message; none for wills).
It is pinned to one version because of that.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from amqtt.adapters import StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import ApplicationMessage, OutgoingApplicationMessage, Session

from gateway.adapters.packets import PacketReader
from gateway.core.identity import Identity
from gateway.core.limits import ACKNOWLEDGE_WITHIN_S, IN_FLIGHT_MAX
from gateway.core.mailbox import Mailbox, Message, mailbox_for
from gateway.core.rules import may_publish, may_retain, may_subscribe
from gateway.ports import Guest, Meter

_LISTENER: Final = "default"
_QOS_MAX: Final = 1
_REFUSED: Final = 0x80
K = TypeVar("K")
V = TypeVar("V")
log = structlog.get_logger()


class _Snapshot(dict[K, V]):
    """A dict that may change while somebody iterates over it across an ``await``, as amqtt does."""

    def __iter__(self) -> Iterator[K]:
        return iter(list(super().__iter__()))

    def items(self) -> Any:
        return list(super().items())


class _Straight:
    """Stands where a session's queue was: what arrives is routed before it is acknowledged."""

    def __init__(self, route: Callable[[ApplicationMessage], None]) -> None:
        self._route = route
        self._never = asyncio.Event()

    async def put(self, message: ApplicationMessage) -> None:
        self._route(message)

    def put_nowait(self, message: ApplicationMessage) -> None:
        self._route(message)

    async def get(self) -> ApplicationMessage:
        await self._never.wait()

    def empty(self) -> bool:
        return True

    def qsize(self) -> int:
        return 0


class _Box:
    """A client's mailbox, and a bell that rings when something comes in."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.connected = False
        self._bell = asyncio.Event()

    def put(self, message: Message, *, again: bool = False) -> int:
        dropped = self.mailbox.put_back(message) if again else self.mailbox.put(message)
        self._bell.set()
        return dropped

    async def next(self) -> Message:
        while (message := self.mailbox.take()) is None:
            self._bell.clear()
            await self._bell.wait()
        return message


class EmbeddedBroker(Broker):  # type: ignore[misc]  # the library is untyped
    """See ``gateway.ports.Broker``."""

    def __init__(self, meter: Meter) -> None:
        """Take whom to count for. Call ``start`` before serving."""
        # Connections come from our own door: amqtt itself listens nowhere and loads no plugin.
        listener = ListenerConfig(type=ListenerType.EXTERNAL, bind="127.0.0.1:0")
        super().__init__(BrokerConfig(listeners={_LISTENER: listener}, plugins={}))
        self._meter = meter
        self._subscriptions: dict[str, list[tuple[Session, int]]] = _Snapshot()
        self._identities: dict[str, Identity] = {}
        self._boxes: dict[str, _Box] = {}
        self._wildcards: set[str] = set()
        self._kept: dict[str, bytes] = {}
        self._noted: set[tuple[str, str]] = set()

    async def serve(self, guest: Guest) -> None:
        """See ``gateway.ports.Broker``."""
        self._identities[guest.identity.name] = guest.identity
        reader = PacketReader(guest, self._meter)
        await self.external_connected(reader, StreamWriterAdapter(guest.writer), _LISTENER)

    async def watch(self) -> None:
        """Run until one of the library's own tasks ends, which is never right.

        Raises:
            RuntimeError: The broker is no longer whole; the process should be replaced.
        """
        await asyncio.wait(
            {self._broadcast_task, self._session_monitor_task},
            return_when=asyncio.FIRST_COMPLETED,
        )
        raise RuntimeError("a task of the broker library has ended")

    # amqtt's seams, in the order a client meets them

    async def _handle_client_session(
        self,
        reader: PacketReader,
        writer: StreamWriterAdapter,
        client_session: Session,
        *rest: object,
    ) -> None:
        client_session.keep_alive = 0  # PacketReader ends the silent; amqtt only notices them
        client_session.delivered_message_queue = _Straight(partial(self._accept, client_session))
        await super()._handle_client_session(reader, writer, client_session, *rest)

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        return session.username in self._identities  # the door has seen its token

    async def _client_message_loop(self, session: Session, handler: BrokerProtocolHandler) -> None:
        name = session.client_id
        role = self._identities[session.username].role
        box = self._boxes.setdefault(name, _Box(mailbox_for(role)))
        box.connected = True
        try:
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(session, handler, box))
                await super()._client_message_loop(session, handler)
                pump.cancel()
        finally:
            box.connected = False
            if session.clean_session:
                self._boxes.pop(name, None)

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        identity = self._identities[session.username]  # asked for subscriptions only
        return may_subscribe(identity, topic) or self._refuse(identity, "subscribe", topic)

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Subscribe a session; return the granted QoS or 0x80."""
        topic_filter, qos = subscription
        granted: int = await super().add_subscription((topic_filter, min(qos, _QOS_MAX)), session)
        if granted != _REFUSED and "+" in topic_filter:
            self._wildcards.add(topic_filter)  # few: the rules spell out every wildcard
        return granted

    async def _broadcast_message(
        self, session: Session | None, topic: str, data: bytes, force_qos: int | None = None
    ) -> None:
        self._route(topic, bytes(data))  # a will; the door has checked its topic

    async def retain_message(
        self, source_session: Session | None, topic_name: str, data: bytes, qos: int | None = None
    ) -> None:
        """Keep a will as its topic's last message."""
        self._keep(topic_name, bytes(data))

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        topic_filter, _ = subscription
        box = self._boxes.get(session.client_id)
        for subscriber, qos in self._subscriptions.get(topic_filter, ()):
            if box is not None and subscriber.client_id == session.client_id:
                for topic, kept in list(self._kept.items()):
                    if self._matches(topic, topic_filter):
                        self._put(session, box, Message(topic, kept, qos, True))

    async def _delete_session(self, client_id: str) -> None:
        self._boxes.pop(client_id, None)
        await super()._delete_session(client_id)

    # routing

    def _accept(self, session: Session, message: ApplicationMessage) -> None:
        identity = self._identities[session.username]
        topic, body = message.topic, bytes(message.data)
        if may_publish(identity, topic) or self._refuse(identity, "publish", topic):
            self._route(topic, body)
            if message.retain:
                self._keep(topic, body)

    def _keep(self, topic: str, body: bytes) -> None:
        if may_retain(topic):
            self._kept[topic] = body
            if not body:  # MQTT 3.1.1, section 3.3.1.3: nothing is kept any more
                del self._kept[topic]

    def _route(self, topic: str, body: bytes) -> None:
        copies = 0
        wild = [each for each in self._wildcards if self._matches(topic, each)]
        for topic_filter in (topic, *wild):
            for session, qos in self._subscriptions.get(topic_filter, ()):
                box = self._boxes.get(session.client_id)
                if box is not None and (box.connected or qos > 0):
                    self._put(session, box, Message(topic, body, qos, False))
                    copies += 1
        self._meter.routed(copies)

    def _put(self, session: Session, box: _Box, message: Message, *, again: bool = False) -> None:
        if dropped := box.put(message, again=again):
            self._meter.dropped(session.client_id, dropped)

    async def _pump(self, session: Session, handler: BrokerProtocolHandler, box: _Box) -> None:
        """Send what waits, many in flight; what is not acknowledged goes back to wait."""
        room = asyncio.Semaphore(IN_FLIGHT_MAX)
        async with asyncio.TaskGroup() as flights:
            while True:
                await room.acquire()
                message = await box.next()
                flight = flights.create_task(self._send(session, handler, box, message))
                flight.add_done_callback(lambda _: room.release())

    async def _send(
        self, session: Session, handler: BrokerProtocolHandler, box: _Box, message: Message
    ) -> None:
        acknowledged = False
        packet_id = session.next_packet_id if message.qos else None
        outgoing = OutgoingApplicationMessage(
            packet_id, message.topic, message.qos, message.body, message.retained
        )
        waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if packet_id is not None:
            session.inflight_out[packet_id] = outgoing
            handler._puback_waiters[packet_id] = waiter
        try:
            async with asyncio.timeout(ACKNOWLEDGE_WITHIN_S):
                await handler._send_packet(outgoing.build_publish_packet())
                if packet_id is not None:
                    await waiter
            acknowledged = True
        except (TimeoutError, AMQTTError, OSError):
            pass  # goes back below; the pump ends with the connection
        finally:
            if packet_id is not None:
                session.inflight_out.pop(packet_id, None)
                handler._puback_waiters.pop(packet_id, None)
                if not acknowledged:
                    self._put(session, box, message, again=True)

    def _refuse(self, identity: Identity, action: str, topic: str) -> bool:
        self._meter.refused("subscribe" if action == "subscribe" else "publish")
        if (identity.name, action) not in self._noted:  # once: a client must not fill our disk
            self._noted.add((identity.name, action))
            log.warning("refused", client=identity.name, action=action, topic=topic[:200])
        return False
