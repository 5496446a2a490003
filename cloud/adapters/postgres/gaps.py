"""Gaps, read from the ledger."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloud.adapters.postgres.pool import Pool
from cloud.adapters.postgres.read_pool import fetch
from cloud.adapters.postgres.sql import statements
from cloud.core.gaps import Cause, Heard, Hole
from wire.ids import Epoch, HubId, Region
from wire.limits import EPOCHS_PER_HELLO_MAX

_SQL: Final = statements(__file__)


class Gaps:
    """See ``cloud.read.ports.GapReader``."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool; own none of it."""
        self._pool = pool

    async def holes(
        self, hub_id: HubId | None, after: tuple[HubId, Epoch, int], limit: int
    ) -> Sequence[Hole]:
        """See ``GapReader``."""
        rows = await fetch(self._pool, _SQL["gaps"], hub_id, *after, limit, EPOCHS_PER_HELLO_MAX)
        return [_hole(row) for row in rows]


def _hole(row: Mapping[str, Any]) -> Hole:
    heard = Heard(
        row["heard_next_sequence"], row["heard_spool_batches"], bool(row["heard_after_ledger"])
    )
    return Hole(
        HubId(row["hub_id"]),
        Region(row["region"]),
        Epoch(row["epoch"]),
        row["low"],
        row["high"],
        Cause(row["settled"]) if row["settled"] else None,
        row["since"],
        row["observed_after"],
        tuple(row["reasons"]),
        heard if row["heard"] else None,
    )
