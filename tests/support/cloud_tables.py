"""PostgreSQL's tables in the shape of the memory twin's, so that one test can look at both."""

from datetime import datetime
from typing import Any

import asyncpg

from cloud.core.arrivals import DeadLetter, Life
from cloud.core.ledger import Entry
from tests.support.cloud import Row, Tables
from wire.batch import Flag
from wire.ids import BatchKey, Epoch, HubId, Sequence
from wire.ranges import Ranges


async def read_tables(url: str) -> Tables:
    """Return what is in the database."""
    connection = await asyncpg.connect(url)
    try:
        return await _read(connection)
    finally:
        await connection.close()


async def _read(connection: "asyncpg.Connection[Any]") -> Tables:
    tables = Tables()
    for name, into in (
        ("sensor_readings", tables.readings),
        ("evidence_readings", tables.evidence),
    ):
        for row in await connection.fetch(f"select * from {name}"):
            into[row["sensor_id"], _ms(row["timestamp"])] = _row(tuple(row.values())[2:])
    await _read_aside(connection, tables)
    await _read_fates(connection, tables)
    for row in await connection.fetch("select * from sensors"):
        tables.sensors[row["sensor_id"]] = HubId(row["hub_id"])
    return tables


async def _read_aside(connection: "asyncpg.Connection[Any]", tables: Tables) -> None:
    for row in await connection.fetch("select * from reading_conflicts"):
        at = (row["sensor_id"], _ms(row["timestamp"]))
        marks = (row["quality"], None, row["samples"])
        tables.conflicts[at, _key(row)] = (tuple(row["metrics"]), *marks)
    for row in await connection.fetch("select * from refused_readings"):
        at = (row["sensor_id"], _ms(row["timestamp"]))
        tables.refused[at, _key(row)] = row["reason"]


async def _read_fates(connection: "asyncpg.Connection[Any]", tables: Tables) -> None:
    for row in await connection.fetch("select * from batch_log"):
        tables.log.setdefault(_key(row), []).append((row["crc"], bool(row["flags"] & 1)))
    for row in await connection.fetch("select * from dead_letters"):
        letter = DeadLetter(
            *(_key(row), row["crc"], row["reason"], row["body"], row["topic"] or ""),
            Flag(row["flags"]),
        )
        tables.dead[letter.key, letter.crc] = letter
        tables.attempts[letter.key, letter.crc] = row["attempts"]
        if row["state"] != "kept":
            tables.decided[letter.key, letter.crc] = (row["state"], row["decided_by"])
    for row in await connection.fetch("select * from sheds"):
        told = BatchKey(
            HubId(row["hub_id"]), Epoch(row["told_epoch"]), Sequence(row["told_sequence"])
        )
        span = (_ms(row["observed_from"]), _ms(row["observed_to"]))
        tables.sheds[told] = (
            *(Epoch(row["epoch"]), row["low"], row["high"]),
            *(*span, row["rows"], row["reason"]),
        )
    for row in await connection.fetch("select * from hub_ledger"):
        tables.ledger[Life(HubId(row["hub_id"]), Epoch(row["epoch"]))] = Entry(
            _ranges(row["received"]),
            _ranges(row["refused"]),
            _ranges(row["shed"]),
            row["next_sequence"],
        )


def _key(row: Any) -> BatchKey:
    return BatchKey(HubId(row["hub_id"]), Epoch(row["epoch"]), Sequence(row["sequence"]))


def _row(values: tuple[Any, ...]) -> Row:
    *metrics, quality, score, samples = values
    return tuple(metrics), quality, score, samples


def _ranges(multirange: Any) -> Ranges:
    return tuple((each.lower, each.upper) for each in multirange)


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000)
