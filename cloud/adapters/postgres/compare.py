"""Two stores compared: what was measured, in readings and conflicts together. Only reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud.adapters.postgres.pool import Connection, translated
from cloud.adapters.postgres.sql import statements
from wire.ids import SensorId
from wire.metric import COLUMNS

_SQL: Final = {
    name: sql.format(columns=", ".join(COLUMNS)) for name, sql in statements(__file__).items()
}
MONTH_WITHIN_S: Final = 3_600.0
_DAY: Final = timedelta(days=1)

Group = tuple[SensorId, datetime]


@dataclass(slots=True)
class Comparison:
    """How a replayed store differs from the original.

    Attributes:
        compared: Rows of the original.
        missing: What was measured according to the original only.
        extra: What was measured according to the replay only.
    """

    compared: int = 0
    missing: int = 0
    extra: int = 0

    @property
    def equal(self) -> bool:
        """Whether they do not differ."""
        return not self.missing and not self.extra


async def compare(
    original: Connection, scratch: Connection, since: datetime, until: datetime
) -> Comparison:
    """Compare what was observed in ``[since, until)``, a month at a time.

    The same instant with the same values counts once, however often it was kept; quality, score
    and samples are not compared, for of equal readings the first is kept with its own.

    Raises:
        InfrastructureError: A store is away.
    """
    found = Comparison()
    with translated():
        async with (
            original.transaction(isolation="repeatable_read", readonly=True),
            scratch.transaction(isolation="repeatable_read", readonly=True),
        ):
            for month in _months(since, until):
                ours, theirs = await _digests(original, *month), await _digests(scratch, *month)
                found.compared += sum(rows for rows, _ in ours.values())
                for group in ours.keys() | theirs.keys():
                    if ours.get(group) != theirs.get(group):
                        await _differ(original, scratch, group, month, found)
    return found


async def _differ(
    original: Connection,
    scratch: Connection,
    group: Group,
    month: tuple[datetime, datetime],
    found: Comparison,
) -> None:
    sensor_id, day = group
    span = max(day, month[0]), min(day + _DAY, month[1])
    ours, theirs = [
        {(row["timestamp"], tuple(row["metrics"])) for row in rows}
        for rows in (
            await original.fetch(_SQL["said"], *span, sensor_id),
            await scratch.fetch(_SQL["said"], *span, sensor_id),
        )
    ]
    found.missing += len(ours - theirs)
    found.extra += len(theirs - ours)


async def _digests(
    connection: Connection, since: datetime, until: datetime
) -> dict[Group, tuple[int, Any]]:
    rows = await connection.fetch(_SQL["digests"], since, until, timeout=MONTH_WITHIN_S)
    return {(row["sensor_id"], row["day"]): (row["rows"], row["digest"]) for row in rows}


def _months(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Cut ``[since, until)`` at the beginnings of months, UTC."""
    since = since.astimezone(UTC)
    while since < until:
        later = since.replace(day=28, hour=0, minute=0, second=0, microsecond=0) + 4 * _DAY
        end = min(later.replace(day=1), until)
        yield since, end
        since = end
