"""Ingest over PostgreSQL and MQTT."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

import structlog

from cloud.adapters.mqtt import Broker, Mqtt, connected, owned_by
from cloud.adapters.postgres.pool import connect, pool
from cloud.adapters.postgres.schema import Schema
from cloud.adapters.postgres.store import PostgresStore
from cloud.core.backoff import Backoff
from cloud.ingest.meters import Meters
from cloud.ingest.service import Ingest
from cloud.ingest.worker import Worker
from cloud.settings import StageSettings
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.topics import Channel, every_hub

CHANNELS: Final = (Channel.BATCH, Channel.URGENT, Channel.HELLO)
_log = structlog.get_logger(__name__)


async def run_ingest(settings: StageSettings) -> None:
    """Serve until cancelled, reconnecting as long as it takes.

    Raises:
        InfrastructureError: Neighbours stay away for longer than the policy waits.
    """
    meters, clock, chance, backoff = Meters(), SystemClock(), random.Random().random, Backoff()
    tries = 0
    while True:
        began_ms = clock.steady_ms()
        try:
            await _serve(settings, clock, meters, chance)
        except InfrastructureError as exc:
            tries = 1 if clock.steady_ms() - began_ms > 60_000 else tries + 1
            if (wait_ms := backoff.wait_ms(tries, chance())) is None:
                raise
            _log.warning("reconnecting", error=str(exc), tries=tries, wait_ms=wait_ms)
            await clock.sleep_ms(wait_ms)


async def _serve(
    settings: StageSettings, clock: SystemClock, meters: Meters, chance: Callable[[], float]
) -> None:
    broker = Broker.read(settings.broker_url, settings.broker_token_file)
    async with connect(settings.database_url) as connection:
        store_id = await Schema(connection).store_id()
    async with (
        pool(settings.database_url, name=f"headgate-ingest-{settings.share.index}") as connections,
        connected(
            broker,
            f"ingest-{settings.share.index}",
            [every_hub(channel) for channel in CHANNELS],
            clock,
            keeps=owned_by(settings.share.owns),
        ) as mqtt,
    ):
        ingest = Ingest(PostgresStore(connections, store_id), clock)
        worker = Worker(ingest, mqtt, mqtt, store_id, clock, meters, chance)
        _log.info("ingesting", store_id=str(store_id), share=str(settings.share))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_watch(mqtt, meters, clock), name="watch")
                tasks.create_task(worker.run(), name="work")
        except* InfrastructureError as failures:
            raise failures.exceptions[0] from failures


async def _watch(mqtt: Mqtt, meters: Meters, clock: SystemClock) -> None:
    seen = 0
    while True:
        meters.inbox(mqtt.waiting_bytes, mqtt.dropped - seen)
        seen = mqtt.dropped
        await clock.sleep_ms(1_000)
