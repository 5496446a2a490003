"""One flush's rows into tables, after the savepoint and before the ledger is locked."""

from typing import Final

import numpy as np

from cloud.core.arrivals import KEY_REUSE, Arrivals, Unreadable, dead_letter, reuses
from cloud.core.ledger import Verdict
from cloud.core.outcome import Outcome
from cloud.core.rows import Unique, against
from cloud.ingest.cargo import Cargo
from cloud.ports import Transaction
from wire.clock import Clock
from wire.ids import HubId, SensorId

SUSPECTED_MS: Final = 60_000
SUSPECTS_MAX: Final = 1_000


class Loader:
    """Writes rows in one stream; hubs that repeat instants are looked up first for a minute."""

    def __init__(self, clock: Clock) -> None:
        """Take the clock that ends a suspicion."""
        self._clock = clock
        self._suspected_at_ms: dict[HubId, int] = {}

    async def load(
        self,
        transaction: Transaction,
        routine: Cargo | None,
        evidence: Cargo | None,
        done: Outcome,
    ) -> bool:
        """Write all rows and say in ``done`` what was written.

        Returns:
            False if an instant is stored already: roll back and load again.
        """
        for cargo in (routine, evidence):
            if cargo is not None and len(cargo.refused):
                await transaction.add_refused(cargo.refused, cargo.reasons, cargo.keys)
                done.refused_rows.update(cargo.reasons)
        if evidence is not None and len(evidence.unique.rows):
            done.evidence = await transaction.add_evidence(evidence.unique.rows)
        return routine is None or await self._add_routine(transaction, routine, done)

    async def _add_routine(self, transaction: Transaction, cargo: Cargo, done: Outcome) -> bool:
        news, again = cargo.unique, await self._look_up(transaction, cargo)
        rows = news.rows if again is None else again.rows
        clash = await transaction.add_readings(rows) if len(rows) else None
        if clash is not None:
            self._suspect(clash, cargo)
            return False
        for found in (news, again):
            if found is not None and len(found.conflicts):
                await transaction.add_conflicts(found.conflicts, cargo.keys)
            if found is not None:
                done.duplicate_rows += found.duplicates
                done.conflicts += len(found.conflicts)
        done.rows, done.fresh = len(rows), rows
        return True

    async def _look_up(self, transaction: Transaction, cargo: Cargo) -> Unique | None:
        """Return the rows without those stored already, looking only where that is suspected."""
        now_ms = self._clock.steady_ms()
        suspected = [
            now_ms - self._suspected_at_ms.get(key.hub_id, -SUSPECTED_MS) < SUSPECTED_MS
            for key in cargo.keys
        ]
        if not any(suspected):
            return None
        rows = cargo.unique.rows
        stored = await transaction.stored(rows.take(np.array(suspected)[rows.batch]))
        return against(rows, stored)

    def _suspect(self, sensor_id: SensorId, cargo: Cargo) -> None:
        rows = cargo.unique.rows
        if len(self._suspected_at_ms) >= SUSPECTS_MAX:
            self._suspected_at_ms.clear()
        for batch in np.unique(rows.batch[rows.sensor_ids == sensor_id]).tolist():
            self._suspected_at_ms[cargo.keys[batch].hub_id] = self._clock.steady_ms()


async def keep_letters(
    transaction: Transaction, arrivals: Arrivals, verdict: Verdict, done: Outcome
) -> None:
    """Keep what will never be rows: refused batches, taken keys, and other hubs' names."""
    letters = [*arrivals.claims, *arrivals.reused]
    letters += [
        dead_letter(parcel, parcel.content.reason, parcel.content.attempts)
        for parcel in verdict.new
        if isinstance(parcel.content, Unreadable)
    ]
    if verdict.known:
        contents = await transaction.contents([parcel.key for parcel in verdict.known])
        reused = [p for p in verdict.known if reuses(p, contents.get(p.key, ()))]
        done.batches["reused"] += len(reused)
        done.batches["duplicates"] -= len(reused)
        letters.extend(dead_letter(parcel, KEY_REUSE) for parcel in reused)
    if letters:
        done.batches["unkept"] += await transaction.add_dead_letters(letters)
