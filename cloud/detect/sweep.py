"""The sweep: what was received and, ten seconds later, still not evaluated, is read again."""

from typing import Final

from cloud.core.detect_ledger import Due, Logged
from cloud.detect import gauges
from cloud.detect.hub import Evaluated, Hub
from cloud.detect.ports import DetectStore
from cloud.detect.service import Detect
from wire import ranges
from wire.batch import Kind

SWEEP_EVERY_MS: Final = 5_000
BATCHES_PER_SWEEP_MAX: Final = 64  # then fresh deliveries get their turn


class Sweep:
    """Heals whatever the broker dropped or a crash forgot."""

    def __init__(self, detect: Detect, store: DetectStore) -> None:
        """Take the neighbours."""
        self._detect = detect
        self._store = store

    async def sweep(self) -> bool:
        """Evaluate what is overdue of our hubs, so much at a time; return whether more may be left.

        Idempotent.
        """
        left = BATCHES_PER_SWEEP_MAX
        for due in await self._store.due():
            unknown = ranges.minus(due.sequences, self._detect.waiting(due.hub_id, due.epoch))
            if unknown and self._detect.owns(due.hub_id):
                left -= await self._heal(Due(due.hub_id, due.epoch, unknown), left)
            if left <= 0:
                return True
        return False

    async def _heal(self, due: Due, limit: int) -> int:
        logged = await self._store.logged(due, limit)
        # What no log remembers any more, or never did: there is nothing to read again.
        known = ranges.from_numbers(batch.key.sequence for batch in logged)
        unlogged = ranges.minus(due.sequences, known) if len(logged) < limit else ranges.EMPTY
        if not unlogged and not any(batch.overdue for batch in logged):
            return 0
        hub = await self._detect.hub(due.hub_id)
        swept = 0
        for batch in logged:
            swept += await self._evaluate(hub, batch)
        if unlogged:
            hub.pass_over(due.epoch, unlogged)
        await self._detect.commit([hub])
        gauges.SWEPT.inc(swept)
        return swept

    async def _evaluate(self, hub: Hub, batch: Logged) -> bool:
        if hub.knows(batch.key) or not batch.overdue:
            return False
        rows = None if batch.kind is Kind.SHED else await self._store.readings(batch)
        if rows is not None and not len(rows):
            rows = None
        await self._detect.evaluate(hub, Evaluated(batch.key, rows, batch.received_at_ms, None))
        return True
