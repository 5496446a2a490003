"""The replay command."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any, Final

import structlog

from cloud.adapters import amqp, amqp_log
from cloud.adapters.postgres.compare import Comparison, compare
from cloud.adapters.postgres.pool import pool
from cloud.adapters.postgres.schema import Schema
from cloud.adapters.postgres.scratch import (
    ScratchStore,
    adopt_speakers,
    named,
    take_possession,
)
from cloud.core.errors import OperatorError
from cloud.core.log_span import Span
from cloud.ingest.log_span import find_span
from cloud.ingest.rebuild import BACKOFF, Rebuild, Tally
from cloud.migrate import migrate, read
from cloud.read.text import dump, iso
from cloud.settings import LogSettings
from cloud.steps import Steps
from wire.clock import SystemClock
from wire.ids import Region, UnixMs

_NAME: Final = "headgate-replay"
NOT_DONE, NOT_EQUAL = 1, 3
_log = structlog.get_logger(__name__)


async def run_replay(settings: LogSettings, asked: argparse.Namespace) -> tuple[str, int]:
    """Return what to print, and the exit status.

    Raises:
        HeadgateError: The log was cut, the store is in use, or a neighbour stays away.
    """
    clock = SystemClock()
    began_ms, now_ms = clock.steady_ms(), clock.now_ms()
    until_ms = min(now_ms, _ms(asked.until) if asked.until else now_ms)
    if _ms(asked.since) >= until_ms:
        raise OperatorError("--from is not before --until", hint="headgate replay --help")
    broker = _broker(settings)
    steps = Steps(clock, BACKOFF, Random().random)
    region = Region(asked.region)
    async with _scratch(asked) as store:

        async def find() -> Span:
            async with amqp_log.opened(broker, region) as log:
                return await find_span(log, _ms(asked.since), until_ms, now_ms)

        span = await steps.done("find", find)
        rebuild = Rebuild(store, span, clock, settings.reach, Random().random)

        async def follow() -> None:
            async with amqp_log.opened(broker, region) as log:
                await rebuild.follow(log)

        await steps.done("follow", follow)
    found = await steps.done("compare", partial(_compared, asked, until_ms))
    told = _told(rebuild.tally, asked, until_ms, (clock.steady_ms() - began_ms) / 1_000, found)
    return (dump(told).decode() if asked.json else _text(told)), _status(rebuild.tally, found)


@asynccontextmanager
async def _scratch(asked: argparse.Namespace) -> AsyncIterator[ScratchStore]:
    """Lend the store to fill: ours alone, migrated, and told who speaks for which sensor."""
    async with named("--into", asked.into) as connection:
        await take_possession(connection)
        await migrate(Schema(connection), read())
        store_id = await Schema(connection).store_id()
        if asked.sensors_of is not None:
            async with named("--sensors-of", asked.sensors_of) as original:
                sensors = await adopt_speakers(original, connection)
            _log.info("adopted", sensors=sensors)
    async with pool(asked.into, connections_max=2, name=_NAME) as opened:
        yield ScratchStore(opened, store_id)


async def _compared(asked: argparse.Namespace, until_ms: UnixMs) -> Comparison | None:
    if asked.compare is None:
        return None
    until = asked.compare_until or _time(until_ms)
    async with (
        named("--compare", asked.compare) as original,
        named("--into", asked.into) as scratch,
    ):
        return await compare(original, scratch, asked.since, until)


def _broker(settings: LogSettings) -> amqp.Broker:
    folder = settings.broker_tls
    try:
        return amqp.Broker.read(
            settings.broker_url, folder / "trust.pem", folder / "cert.pem", folder / "key.pem"
        )
    except (ValueError, OSError) as exc:
        hint = "only RabbitMQ keeps a log; docs/replay.md"
        raise OperatorError(str(exc), hint=hint) from exc


def _told(
    tally: Tally,
    asked: argparse.Namespace,
    until_ms: UnixMs,
    seconds: float,
    found: Comparison | None,
) -> dict[str, Any]:
    fates = tally.batches
    told: dict[str, Any] = {
        "messages": tally.messages,
        "batches": fates["stored"] + fates["tombstones"],
        "readings": tally.rows["readings"],
        "duplicates": fates["duplicates"],
        "refused": fates["refused"],
        "damaged": fates["damaged"] + fates["malformed"],
        "reused": fates["reused"],
        "impostors": fates["impostors"],
        "left": fates["left"],
        "conflicts": tally.rows["conflicts"],
        "duplicate_rows": tally.rows["duplicate_rows"],
        "refused_rows": tally.rows["refused_rows"],
        "evidence": tally.rows["evidence"],
        "from": iso(asked.since),
        "to": iso(_time(until_ms)),
        "seconds": round(seconds, 1),
    }
    if found is not None:
        told |= {
            "equal": found.equal,
            "compared": found.compared,
            "missing": found.missing,
            "extra": found.extra,
        }
    return told


def _text(told: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _status(tally: Tally, found: Comparison | None) -> int:
    if tally.batches["left"]:
        return NOT_DONE
    return 0 if found is None or found.equal else NOT_EQUAL


def _ms(instant: datetime) -> UnixMs:
    return UnixMs(round(instant.timestamp() * 1_000))


def _time(at_ms: UnixMs) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC)
