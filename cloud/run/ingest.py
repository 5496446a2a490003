"""Ingest over PostgreSQL and a broker."""

from contextlib import AsyncExitStack
from random import Random

import structlog

from cloud.adapters.mqtt import owned_by
from cloud.adapters.postgres.pool import connect, pool
from cloud.adapters.postgres.schema import Schema
from cloud.adapters.postgres.store import PostgresStore
from cloud.adapters.postgres.trials import PostgresTrials
from cloud.ingest.meters import Meters
from cloud.ingest.service import Ingest
from cloud.ingest.sift import Sieve
from cloud.ingest.suspects import HELD_MAX, Docket, Suspects
from cloud.ingest.worker import Worker
from cloud.run.broker import INGEST, Connection, connects, suspects
from cloud.run.links import beat, keep_serving
from cloud.settings import StageSettings
from cloud.tasks import together
from wire.clock import SystemClock

_log = structlog.get_logger(__name__)


async def run_ingest(settings: StageSettings) -> None:
    """Serve until cancelled. Neighbours may come and go.

    Raises:
        InfrastructureError: The database cannot be reached at the start.
    """
    clock, meters, chance = SystemClock(), Meters(), Random().random
    name = f"ingest-{settings.share.index}"
    connected = connects(settings, name, INGEST, clock, owned_by(settings.share.owns))
    async with connect(settings.database_url) as connection:
        store_id = await Schema(connection).store_id()
    set_aside = suspects(settings, HELD_MAX, clock)
    async with pool(settings.database_url, name=f"headgate-{name}") as opened:
        store = PostgresStore(opened, store_id)
        # Each its own: what an ingest remembers of sensors is no two tasks' at once.
        ingest, alone = [Ingest(store, clock, reach=settings.reach) for _ in range(2)]
        docket = Docket(PostgresTrials(opened))

        async def serve() -> None:
            async with AsyncExitStack() as links:
                broker = await links.enter_async_context(connected())
                worker = Worker(ingest, broker, broker, store_id, clock, meters, chance)
                works = [worker.run(), _watch(broker, meters, clock)]
                if set_aside is not None:
                    inbox = await links.enter_async_context(set_aside())
                    sieve = Sieve(alone, worker.step, worker.credit)
                    judge = Suspects(sieve, inbox, broker, docket, store_id, clock, meters)
                    works.append(judge.run())
                _log.info("ingesting", store_id=str(store_id), share=str(settings.share))
                await together(*works, beat(opened, clock, worker.steps))

        await keep_serving(name, serve, clock, chance)


async def _watch(broker: Connection, meters: Meters, clock: SystemClock) -> None:
    seen = 0
    while True:
        meters.inbox(broker.waiting_bytes, broker.dropped - seen)
        seen = broker.dropped
        await clock.sleep_ms(1_000)
