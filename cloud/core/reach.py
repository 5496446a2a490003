"""How far back the store takes rows. No NumPy: settings read it in every role."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

BACKFILL_FROM: Final = date(2015, 1, 1)


def midnight_ms(day: date) -> int:
    """Return the beginning of a day, UTC, Unix ms."""
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back rows are taken.

    Every month rows were observed in costs the store tables, so a hub's word alone opens none.

    Attributes:
        retention_ms: Before the store's time.
        backfill_from_ms: Unix ms: oldest row a batch of history may bring, whatever its own floor.
    """

    retention_ms: int = 400 * 86_400_000
    backfill_from_ms: int = midnight_ms(BACKFILL_FROM)
