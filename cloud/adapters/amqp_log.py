"""A region's log on RabbitMQ: a stream, read from any message or instant on. Never written."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Final

import aiormq
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from cloud.adapters.amqp import ANSWER_WITHIN_S, GOODBYE_WITHIN_S, Broker, link, translated
from cloud.core.errors import OperatorError
from cloud.core.ledger import EPOCHS_PER_HUB_HOUR_MAX
from cloud.core.log_span import Logged
from cloud.tasks import heed_cancellation
from wire import queues
from wire.errors import InfrastructureError
from wire.ids import Region, UnixMs
from wire.limits import BATCH_BYTES_MAX, MIB

PREFETCH: Final = 120
assert 2 * PREFETCH * BATCH_BYTES_MAX <= 64 * MIB, "what is settled, and what comes meanwhile"
assert 2 * PREFETCH <= EPOCHS_PER_HUB_HOUR_MAX, "a message may open two lives, and all be one hub's"
NOTHING_AFTER_S: Final = 1.0  # by then a log that has something has begun to send it
SILENT_AFTER_S: Final = 3.0
CHUNK_MESSAGES_MAX: Final = 65_535  # the stream's format has two bytes for it
LOOKS: Final = 3  # at nothing, since a busy broker may be slow to begin


class AmqpLog:
    """See ``cloud.ingest.log_span.Log``."""

    def __init__(self, connection: AbstractConnection, region: Region) -> None:
        """Take a connection that may read the region's stream."""
        self._connection = connection
        self._name = queues.log(region)

    async def oldest(self) -> int | None:
        """See ``Log``."""
        return await self._looked_for("first")

    async def tail(self) -> int:
        """See ``Log``. Asked of the messages themselves: the broker's own count of them lags."""
        last, seen = -1, 0
        async with self._reader("last", PREFETCH) as reader:
            while seen < CHUNK_MESSAGES_MAX and (burst := await reader.burst(SILENT_AFTER_S)):
                last, seen = _logged(burst[-1]).offset, seen + len(burst)
                with translated():
                    await burst[-1].ack(multiple=True)
        if not seen:
            raise InfrastructureError(f"broker: {self._name} is silent at its end")
        return last + 1

    async def since(self, at_ms: UnixMs) -> int | None:
        """See ``Log``."""
        return await self._looked_for(datetime.fromtimestamp(at_ms // 1_000, UTC))

    async def read(self, first: int, end: int) -> AsyncGenerator[Sequence[Logged], None]:
        """See ``Log``."""
        wanted = first
        async with self._reader(first, PREFETCH) as reader:
            while wanted < end:
                burst = await reader.burst(SILENT_AFTER_S)
                if not burst:
                    raise InfrastructureError(f"broker: {self._name} is silent before {wanted}")
                found = [_logged(message) for message in burst]
                await self._check_kept(wanted, found[0].offset)
                with translated():  # a stream forgets nothing for it: it only lets more come
                    await burst[-1].ack(multiple=True)
                if taken := [each for each in found if wanted <= each.offset < end]:
                    yield taken
                wanted = found[-1].offset + 1

    async def _check_kept(self, wanted: int, found: int) -> None:
        """Raise if what lies before ``found`` was deleted, and is no note of the broker's own."""
        if found == wanted:
            return
        oldest = await self.oldest()
        if oldest is None:
            raise InfrastructureError(f"broker: {self._name} is silent before {found}")
        if oldest > wanted:
            raise OperatorError(
                f"{self._name} was cut under us: messages {wanted} to {found - 1} are gone",
                hint="what was stored is right; a later --from replays what is left",
            )

    async def _looked_for(self, place: str | datetime) -> int | None:
        for _ in range(LOOKS):
            if (found := await self._first(place)) is not None:
                return found
        return None

    async def _first(self, place: str | datetime) -> int | None:
        """Return the first message at a place, None if there is none by now."""
        async with self._reader(place, 1) as reader:
            burst = await reader.burst(NOTHING_AFTER_S)
        return _logged(burst[0]).offset if burst else None

    @asynccontextmanager
    async def _reader(self, place: str | int | datetime, prefetch: int) -> AsyncIterator["_Reader"]:
        reader = _Reader()
        async with self._channel() as channel:
            channel.close_callbacks.add(lambda _, why: reader.end(str(why or "closed")))
            with self._mendable(), translated():
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await channel.set_qos(prefetch_count=prefetch)
                    queue = await channel.get_queue(self._name, ensure=False)
                    await queue.consume(reader.take, arguments={"x-stream-offset": place})
            yield reader

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        with translated():
            async with asyncio.timeout(ANSWER_WITHIN_S):
                channel = await self._connection.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            with suppress(InfrastructureError), translated():
                async with asyncio.timeout(GOODBYE_WITHIN_S):
                    await channel.close()
            heed_cancellation()

    @contextmanager
    def _mendable(self) -> Iterator[None]:
        """Raise what no other try mends as an operator's.

        Raises:
            OperatorError: There is no such stream, or it is not ours to read.
        """
        try:
            yield
        except InfrastructureError as exc:
            if isinstance(exc.__cause__, aiormq.exceptions.ChannelNotFoundEntity):
                region = self._name.partition(".")[2]
                hint = f"headgate cluster declare --region {region}"
                raise OperatorError(f"the broker has no {self._name}", hint=hint) from exc
            if isinstance(exc.__cause__, aiormq.exceptions.ChannelAccessRefused):
                hint = "HEADGATE_BROKER_TLS: the folder of a certificate of the service replay"
                raise OperatorError(f"we may not read {self._name}", hint=hint) from exc
            raise


class _Reader:
    """What has come on one channel and was not taken yet."""

    def __init__(self) -> None:
        self._held: list[AbstractIncomingMessage] = []
        self._woken = asyncio.Event()
        self._gone: str | None = None

    async def take(self, message: AbstractIncomingMessage) -> None:
        """Keep a message."""
        self._held.append(message)
        self._woken.set()

    def end(self, why: str) -> None:
        """Note that nothing more will come."""
        self._gone = why
        self._woken.set()

    async def burst(self, within_s: float) -> Sequence[AbstractIncomingMessage]:
        """Return what has come; nothing, if nothing does for so long.

        Raises:
            InfrastructureError: The channel was closed.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self._held and self._gone is None:
                    self._woken.clear()
                    await self._woken.wait()
        if self._gone is not None:
            raise InfrastructureError(f"broker: {self._gone}")
        taken, self._held = self._held, []
        return taken


@asynccontextmanager
async def opened(broker: Broker, region: Region) -> AsyncIterator[AmqpLog]:
    """Lend a region's log.

    Raises:
        InfrastructureError: No node can be reached, or it refuses us.
    """
    async with link(broker) as connection:
        yield AmqpLog(connection, region)


def _logged(message: AbstractIncomingMessage) -> Logged:
    offset = message.headers["x-stream-offset"]
    assert isinstance(offset, int), "every message of a stream has one"
    return Logged(offset, queues.topic(message.routing_key or ""), message.body)
