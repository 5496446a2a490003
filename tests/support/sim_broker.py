"""A broker in memory, and the ways to it, under the weather's rule.

It keeps messages for stages that are away, loses, doubles, damages and delays what it carries (so
that messages overtake each other), acknowledges what it then loses, and forgets everything at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from edge_agent.ports import Link, LinkLostError
from tests.support.sim_life import NeighbourAwayError, Weather, step
from wire.ids import HubId, Region, UnixMs
from wire.topics import Channel, Lane, lane_topic, topic

PUBACK_WITHIN_S = 8.0
HELD_MAX = 10_000
_LANES = lane_topic(Lane.HIGH).rpartition("/")[0]


@dataclass(slots=True, eq=False)
class Post:
    """One message lent to a stage."""

    topic: str
    body: bytes
    received_at_ms: UnixMs
    acknowledged: bool = False

    async def ack(self) -> None:
        """See ``Delivery``."""
        step()
        self.acknowledged = True


@dataclass(slots=True, eq=False)
class Client:
    """One session of somebody at the broker."""

    name: str
    takes: Callable[[str], bool]
    lasting: bool
    online: bool = False
    inbox: deque[tuple[str, bytes]] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    lent: list[Post] = field(default_factory=list)

    async def next(self) -> tuple[str, bytes] | None:
        """Return the next message, None once the connection is broken."""
        while self.online and not self.inbox:
            self.arrived.clear()
            await self.arrived.wait()
        return self.inbox.popleft() if self.online else None

    def cut(self) -> None:
        """Break the connection."""
        self.online = False
        self.arrived.set()


class Broker:
    """See the module."""

    def __init__(self, weather: Weather, now_ms: Callable[[], UnixMs]) -> None:
        self.weather, self.now_ms = weather, now_ms
        self.clients: dict[str, Client] = {}
        self.away_until_s = 0.0
        self._lives = 0

    def client(self, name: str, takes: Callable[[str], bool], *, lasting: bool) -> Client:
        """Return the session of that name, connected anew.

        Raises:
            NeighbourAwayError: The broker is away.
        """
        if asyncio.get_running_loop().time() < self.away_until_s:
            raise NeighbourAwayError("the broker is away")
        client = self.clients.get(name)
        if client is None or not lasting:
            client = self.clients[name] = Client(name, takes, lasting)
        elif self.weather.dice.random() < 0.5:
            again = [(post.topic, post.body) for post in client.lent if not post.acknowledged]
            client.inbox.extendleft(reversed(again))
        client.lent, client.online, client.takes = [], True, takes
        return client

    def publish(self, name: str, body: bytes) -> None:
        """Carry a message to everybody who takes it, as well as the weather allows."""
        for client in self.clients.values():
            if client.takes(name):
                self._carry(client, name, body)

    def forget(self, away_s: float) -> None:
        """Restart without a memory."""
        self.weather.note("the broker loses its memory")
        self._lives += 1
        self.away_until_s = asyncio.get_running_loop().time() + away_s
        for client in self.clients.values():
            client.inbox.clear()
            client.cut()

    def _carry(self, client: Client, name: str, body: bytes) -> None:
        weather, faults = self.weather, self.weather.faults
        if weather.strikes(faults.lose):
            weather.note(f"lost on the way to {client.name}: {name}")
            return
        # What stages tell each other has no checksum of its own: it only wakes, or is for screens.
        if not name.startswith(_LANES) and weather.strikes(faults.damage):
            weather.note(f"damaged on the way to {client.name}: {name}")
            at = weather.dice.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1 << weather.dice.randrange(8)]) + body[at + 1 :]
        loop = asyncio.get_running_loop()
        for _ in range(2 if weather.strikes(faults.double) else 1):
            loop.call_later(weather.delay_s(), self._deliver, client, self._lives, name, body)

    def _deliver(self, client: Client, life: int, name: str, body: bytes) -> None:
        there = client.online or client.lasting
        if life == self._lives and there and len(client.inbox) < HELD_MAX:
            client.inbox.append((name, body))
            client.arrived.set()


class Line:
    """A stage's connection: ``Inbox`` and ``Lanes``, good until it breaks."""

    def __init__(self, broker: Broker, name: str, takes: Callable[[str], bool]) -> None:
        self._broker = broker
        self._client = broker.client(name, takes, lasting=True)

    def deliveries(self) -> AsyncIterator[Sequence[Post]]:
        """See ``Inbox``."""
        return self

    def __aiter__(self) -> AsyncIterator[Sequence[Post]]:
        return self

    async def __anext__(self) -> Sequence[Post]:
        client = self._client
        found = await client.next()
        step()
        if found is None:
            raise NeighbourAwayError("the broker is gone")
        burst = [found, *client.inbox]
        client.inbox.clear()
        posts = [Post(name, body, self._broker.now_ms()) for name, body in burst]
        client.lent = [post for post in client.lent if not post.acknowledged] + posts
        return posts

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See ``Lanes``."""
        for name, body in messages:
            step()
            await asyncio.sleep(0)
            if not self._client.online:
                raise NeighbourAwayError("the broker is gone")
            self._broker.publish(name, body)

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``."""
        await self.publish([(lane_topic(lane), body)])


class HubUplink:
    """``Uplink`` of one hub. ``away_until_s`` is a partition."""

    def __init__(self, broker: Broker, region: Region, hub_id: HubId) -> None:
        self.broker, self.region, self.hub_id = broker, region, hub_id
        self.away_until_s = 0.0
        self.client: Client | None = None

    @asynccontextmanager
    async def open(self, will: bytes) -> AsyncIterator[Link]:
        """See ``Uplink``."""
        step()
        await asyncio.sleep(0.01)
        own = topic(self.region, self.hub_id, Channel.RECEIPT)
        if asyncio.get_running_loop().time() < self.away_until_s:
            raise LinkLostError("partitioned")
        try:
            client = self.broker.client(self.hub_id, own.__eq__, lasting=False)
        except NeighbourAwayError as exc:
            raise LinkLostError(str(exc)) from exc
        self.client = client
        try:
            yield _HubLink(self, client)
        finally:
            client.cut()

    def cut(self, away_s: float) -> None:
        """Break the link, and keep it broken for a while."""
        self.broker.weather.note(f"{self.hub_id} is cut off for {away_s:.1f} s")
        self.away_until_s = asyncio.get_running_loop().time() + away_s
        if self.client is not None:
            self.client.cut()


class _HubLink:
    def __init__(self, uplink: HubUplink, client: Client) -> None:
        self._uplink, self._client = uplink, client

    async def publish(self, channel: Channel, body: bytes, *, retain: bool = False) -> None:
        """See ``Link``. The broker acknowledges before it carries, and may carry nothing."""
        broker = self._uplink.broker
        step()
        await asyncio.sleep(broker.weather.delay_s() / 4)
        step()
        silent = broker.weather.strikes(broker.weather.faults.silence)
        if silent:
            await asyncio.sleep(PUBACK_WITHIN_S)
        if silent or not self._client.online:
            raise LinkLostError("no PUBACK")
        broker.publish(topic(self._uplink.region, self._uplink.hub_id, channel), body)

    async def incoming(self) -> AsyncIterator[tuple[Channel, bytes]]:
        """See ``Link``."""
        while (message := await self._client.next()) is not None:
            step()
            yield Channel.RECEIPT, message[1]
        raise LinkLostError("cut")
