"""Who speaks for which sensor: the store's word, remembered for a while."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud.core.owners import Owners, claims
from cloud.core.rows import FAULTS, FINE, Fault, Rows
from cloud.ports import NOBODY, Store
from wire.batch import Seal
from wire.clock import Clock
from wire.doors import speaker

REMEMBERED_MS: Final = 600_000  # how long a sensor moved to another hub may still speak as the old


class Census:
    """The sensors we have met; the first hub to claim one speaks for it, all doors as one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        """Take the neighbours."""
        self._store = store
        self._clock = clock
        self._owners = Owners()
        self._since_ms = clock.steady_ms()

    async def strange(self, rows: Rows, seals: Sequence[Seal]) -> NDArray[np.int8]:
        """Return the fault of rows from a hub that does not speak for their sensor; shape ``(n,)``.

        Sensors nobody speaks for are registered; the store is asked again about foreign ones.

        Args:
            rows: Sorted by sensor.
            seals: What ``rows.batch`` points into.

        Raises:
            InfrastructureError: The store cannot say; nothing was decided.
        """
        self._forget_in_time()
        hubs = np.array([self._owners.index(speaker(seal.key.hub_id)) for seal in seals], np.int32)
        senders = hubs[rows.batch]
        strange: NDArray[np.bool_] = self._owners.owner(rows.sensor_ids) != senders
        if strange.any():
            await self._ask(*claims(rows.sensor_ids[strange], senders[strange]), seals)
        owners = self._owners.owner(rows.sensor_ids)
        faults = np.full(len(rows), FINE, np.int8)
        faults[owners != senders] = FAULTS.index(Fault.FOREIGN)
        faults[owners == self._owners.index(NOBODY)] = FAULTS.index(Fault.CROWDED)
        return faults

    async def _ask(
        self, sensor_ids: NDArray[np.int64], hubs: NDArray[np.int32], seals: Sequence[Seal]
    ) -> None:
        said = {self._owners.index(speaker(seal.key.hub_id)): seal for seal in seals}
        claimants = [said[hub] for hub in hubs.tolist()]
        speakers = await self._store.claim(
            sensor_ids,
            [speaker(seal.key.hub_id) for seal in claimants],
            [seal.region for seal in claimants],
        )
        owners = np.array([self._owners.index(hub_id) for hub_id in speakers], np.int32)
        self._owners.learn(sensor_ids, owners)

    def _forget_in_time(self) -> None:
        if self._clock.steady_ms() - self._since_ms > REMEMBERED_MS:
            self._owners, self._since_ms = Owners(), self._clock.steady_ms()
