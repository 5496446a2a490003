"""Detect: commit findings, state and what is evaluated together; only then acknowledge.

Every step awaits its neighbours only and may be repeated after an InfrastructureError.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np
import structlog

from cloud.core.arrivals import Parcel, Unreadable, read
from cloud.core.detect import Detector
from cloud.core.detect_bands import BandBook
from cloud.core.detect_calm import runs_of
from cloud.core.detect_ledger import Remembered, Superseded
from cloud.core.detect_rows import Rows, rows_of
from cloud.core.detect_state import SENSORS_PER_HUB_MAX, HubState
from cloud.detect import gauges
from cloud.detect.hub import Evaluated, Hub
from cloud.detect.ports import DetectStore, Wakes
from cloud.ports import Delivery
from wire import ranges
from wire.batch import Batch
from wire.clock import Clock
from wire.doors import speaker
from wire.errors import InfrastructureError, PeerError
from wire.ids import Epoch, HubId
from wire.ranges import Ranges
from wire.topics import Channel, Lane, parse

COMMIT_AFTER_MS: Final = 1_000  # a hub whose water is fine is committed so often
HUBS_PER_COMMIT_MAX: Final = 16  # what is urgent waits for no more routine commits than these
WAITING_MAX: Final = 256  # batches of a hub that may wait for one commit
HUBS_MAX: Final = 10_000
ATTEMPTS: Final = 4
WAKE_UP: Final = b"findings"
_OURS: Final = frozenset({Channel.BATCH, Channel.URGENT})

_log = structlog.get_logger(__name__)


class Detect:
    """The one path from deliveries to findings."""

    def __init__(
        self, store: DetectStore, lanes: Wakes, clock: Clock, owns: Callable[[HubId], bool]
    ) -> None:
        """Take the neighbours; own none of them. ``owns`` says which hubs are ours."""
        self._store = store
        self._lanes = lanes
        self._clock = clock
        self.owns = owns
        self._book = BandBook()
        self._hubs: dict[HubId, Hub] = {}

    async def refresh(self) -> None:
        """Judge by the band table as it is now."""
        book = await self._store.bands()
        if book != self._book:
            self._book = book
            for hub in self._hubs.values():
                hub.detector.judge_by(book)
            _log.info("bands changed")

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Evaluate deliveries; commit at once what is urgent or shows something. Idempotent."""
        for delivery in deliveries:
            parcel = self._parcel(delivery)
            if parcel is None:
                await delivery.ack()  # ingest keeps what is wrong with it
            elif self.owns(parcel.key.hub_id):
                await self._take(delivery, parcel)
        await self.commit([hub for hub in self._hubs.values() if hub.urgent])

    async def settle(self) -> bool:
        """Commit hubs that have waited long enough; return whether there may be more of them."""
        now_ms = self._clock.steady_ms()
        ripe = [
            hub
            for hub in self._hubs.values()
            if hub.urgent or (hub.waiting and now_ms - hub.since_ms >= COMMIT_AFTER_MS)
        ]
        await self.commit(ripe[:HUBS_PER_COMMIT_MAX])
        return len(ripe) > HUBS_PER_COMMIT_MAX

    def waiting(self, hub_id: HubId, epoch: Epoch) -> Ranges:
        """Return which sequences of an epoch are evaluated and wait for their commit."""
        hub = self._hubs.get(hub_id)
        return ranges.EMPTY if hub is None else hub.news().get(epoch, ranges.EMPTY)

    async def commit(self, hubs: Collection[Hub]) -> None:
        """Commit what these hubs have waiting, acknowledge it, and wake the alert stage."""
        hubs = [hub for hub in hubs if hub.dirty]
        for _ in range(ATTEMPTS):
            if not hubs:
                return
            outcome = await self._store.commit([hub.advance() for hub in hubs])
            if not isinstance(outcome, Superseded):
                found = any(hub.found for hub in hubs)
                for hub in hubs:
                    await self._acknowledge(hub, outcome.versions[hub.hub_id])
                if found:
                    await self._wake()
                return
            for hub in hubs:
                if hub.hub_id in outcome.hub_ids:
                    await self._begin_again(hub)
        raise InfrastructureError(f"state taken from us {ATTEMPTS} times in a row")

    async def hub(self, hub_id: HubId) -> Hub:
        """Return a hub, from memory or as its last commit left it."""
        hub = self._hubs.pop(hub_id, None)
        if hub is None:
            remembered = await self._store.remembered(hub_id)
            hub = Hub(
                hub_id,
                self._detector(hub_id, remembered),
                remembered.version,
                dict(remembered.evaluated),
            )
            self._make_room()
        self._hubs[hub_id] = hub  # the most recently used stands last
        gauges.HUBS.set(len(self._hubs))
        return hub

    async def evaluate(self, hub: Hub, batch: Evaluated, *, urgent: bool = False) -> None:
        """Move a hub on by a batch it does not know yet, without the sensors that are not its own.

        A hub that has too much waiting is committed first.
        """
        if len(hub.waiting) >= WAITING_MAX:
            await self.commit([hub])
        if batch.rows is not None:
            own = await self._own(hub, batch.rows)
            batch = Evaluated(batch.key, own, batch.received_at_ms, batch.delivery)
            gauges.READINGS.inc(len(own))
        if not hub.waiting:
            hub.since_ms = self._clock.steady_ms()
        hub.evaluate(batch, self._clock.now_ms())
        hub.urgent = hub.urgent or urgent

    def _parcel(self, delivery: Delivery) -> Parcel | None:
        try:
            address = parse(delivery.topic)
            found = read(delivery, address) if address.channel in _OURS else None
        except PeerError:
            found = None
        if isinstance(found, Parcel) and not isinstance(found.content, Unreadable):
            return found
        gauges.BATCHES.labels("unusable").inc()
        return None

    async def _take(self, delivery: Delivery, parcel: Parcel) -> None:
        hub = await self.hub(parcel.key.hub_id)
        if hub.knows(parcel.key):
            gauges.BATCHES.labels("duplicate").inc()
            if parcel.key not in hub.waiting:
                await delivery.ack()
            return
        rows = rows_of(parcel.content) if isinstance(parcel.content, Batch) else None
        batch = Evaluated(parcel.key, rows, parcel.received_at_ms, delivery)
        await self.evaluate(hub, batch, urgent=parse(delivery.topic).channel is Channel.URGENT)
        gauges.BATCHES.labels("evaluated").inc()

    async def _own(self, hub: Hub, rows: Rows) -> Rows:
        """Return the rows whose sensors this hub speaks for, as far as the store knows."""
        state = hub.detector.state
        reported = rows.sensor_ids[runs_of(rows.sensor_ids)[0]]
        if state.places(reported) is not None:
            return rows
        known = state.sensor_ids
        strange = np.setdiff1d(reported, known)
        asked = np.array([each for each in strange.tolist() if each not in hub.foreign], np.int64)
        foreign = set((await self._store.foreign(speaker(hub.hub_id), asked)).tolist())
        crowd = strange.tolist() if len(known) + len(strange) > SENSORS_PER_HUB_MAX else ()
        hub.foreign = frozenset(list(hub.foreign | foreign)[:SENSORS_PER_HUB_MAX])
        refused = np.array([*hub.foreign, *crowd], np.int64)
        keep = ~np.isin(rows.sensor_ids, refused)
        gauges.FOREIGN.inc(int((~keep).sum()))
        return rows.where(keep)

    async def _acknowledge(self, hub: Hub, version: object) -> None:
        now_ms = self._clock.now_ms()
        for found in hub.found:
            path = "historical" if found.finding.historical else "live"
            gauges.FINDINGS.labels(str(found.finding.cause), path).inc()
            _log.info(
                "found",
                hub_id=hub.hub_id,
                epoch=str(found.key.epoch),
                sequence=found.key.sequence,
                sensor_id=found.finding.sensor_id,
                cause=str(found.finding.cause),
                metric=found.finding.metric,
                ended=found.finding.ended,
                path=path,
            )
        for batch in hub.committed(version):
            gauges.LAG.observe(max(0, now_ms - batch.received_at_ms) / 1_000)
            if batch.delivery is not None:
                await batch.delivery.ack()

    async def _wake(self) -> None:
        try:
            await self._lanes.send(Lane.HIGH, WAKE_UP)
        except InfrastructureError as exc:  # the findings are committed: the alert stage polls
            _log.warning("nobody woken", why=str(exc))

    async def _begin_again(self, hub: Hub) -> None:
        remembered = await self._store.remembered(hub.hub_id)
        hub.begin_again(remembered, self._detector(hub.hub_id, remembered), self._clock.now_ms())
        _log.warning("state superseded", hub_id=hub.hub_id)

    def _detector(self, hub_id: HubId, remembered: Remembered) -> Detector:
        state = HubState()
        if remembered.state is not None:
            try:
                state = HubState.from_bytes(remembered.state)
            except ValueError as exc:
                _log.error("state unreadable, beginning anew", hub_id=hub_id, why=str(exc))
        return Detector(state, self._book)

    def _make_room(self) -> None:
        if len(self._hubs) < HUBS_MAX:
            return
        idle = next((hub_id for hub_id, hub in self._hubs.items() if not hub.dirty), None)
        if idle is None:
            raise InfrastructureError(f"{HUBS_MAX} hubs wait for their commit")
        del self._hubs[idle]
