"""The ledger's rows in SQL."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud.adapters.postgres.pool import Session
from cloud.adapters.postgres.sql import statements
from cloud.core.arrivals import DeadLetter, Life
from cloud.core.ledger import Entry
from cloud.ports import DEAD_LETTERS_PER_HUB_MAX
from wire.batch import Flag, Tombstone
from wire.ids import BatchKey, HubId, Region
from wire.ranges import Ranges

_SQL: Final = statements(__file__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def entries(connection: Session, lives: Collection[Life]) -> dict[Life, Entry]:
    """See ``Transaction.entries``."""
    return _entries(await connection.fetch(_SQL["entries"], *_columns(lives, 2)))


async def opened(connection: Session, hub_ids: Collection[HubId]) -> dict[HubId, int]:
    """See ``Transaction.opened``."""
    found = await connection.fetch(_SQL["opened"], list(hub_ids))
    return {row["hub_id"]: row["lives"] for row in found}


async def lock(connection: Session, lives: Mapping[Life, Region]) -> dict[Life, Entry]:
    """See ``Transaction.lock``."""
    wanted = _columns(lives, 2)
    await connection.execute(_SQL["open"], *wanted, list(lives.values()))
    return _entries(await connection.fetch(_SQL["lock"], *wanted))


async def settle(connection: Session, entries: Mapping[Life, Entry]) -> None:
    """See ``Transaction.settle``."""
    written = [
        (*life, _text(entry.received), _text(entry.refused), _text(entry.shed), entry.next_sequence)
        for life, entry in entries.items()
    ]
    await connection.execute(_SQL["settle"], *_columns(written, 6))


async def contents(
    connection: Session, keys: Sequence[BatchKey]
) -> dict[BatchKey, list[tuple[int, bool]]]:
    """See ``Transaction.contents``."""
    known: dict[BatchKey, list[tuple[int, bool]]] = {}
    for row in await connection.fetch(_SQL["contents"], *_columns(keys, 3)):
        key = BatchKey(row["hub_id"], row["epoch"], row["sequence"])
        known.setdefault(key, []).append((row["crc"], Flag.THINNED in Flag(row["flags"])))
    return known


async def add_dead_letters(connection: Session, letters: Sequence[DeadLetter]) -> int:
    """See ``Transaction.add_dead_letters``."""
    each_once = {
        (*each.key, each.crc): (
            *(each.reason, each.body, each.topic, int(each.flags)),
            each.attempts,
        )
        for each in letters
    }
    rows = [(*key, *kept) for key, kept in each_once.items()]
    status = await connection.execute(
        _SQL["add_dead_letters"], *_columns(rows, 9), DEAD_LETTERS_PER_HUB_MAX
    )
    return len(rows) - int(status.split()[-1])


async def add_sheds(connection: Session, tombstones: Sequence[Tombstone]) -> None:
    """See ``Transaction.add_sheds``."""
    rows = [
        (
            *(*lost.key, lost.epoch, lost.low, lost.high),
            *(_instant(at_ms) for at_ms in (lost.observed_from_ms, lost.observed_to_ms)),
            *(lost.rows, lost.reason),
        )
        for lost in tombstones
    ]
    await connection.execute(_SQL["add_sheds"], *_columns(rows, 10))


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def _entries(rows: Iterable[Any]) -> dict[Life, Entry]:
    return {
        Life(row["hub_id"], row["epoch"]): Entry(
            _ranges(row["received"]),
            _ranges(row["refused"]),
            _ranges(row["shed"]),
            row["next_sequence"],
        )
        for row in rows
    }


def _ranges(multirange: Iterable[Any]) -> Ranges:
    return tuple((each.lower, each.upper) for each in multirange)


def _text(ranges: Ranges) -> str:
    return "{" + ",".join(f"[{low},{high})" for low, high in ranges) + "}"


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Return rows as the arrays ``unnest`` takes."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]
