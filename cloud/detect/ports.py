"""What detection needs from the store. Every method may raise InfrastructureError."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cloud.core.detect_bands import BandBook
from cloud.core.detect_ledger import Advance, Committed, Due, Logged, Remembered, Superseded
from cloud.core.detect_rows import Rows
from wire.ids import HubId
from wire.topics import Lane


class DetectStore(Protocol):
    """Where findings, state and the detect ledger live, and where readings can be read again."""

    async def bands(self) -> BandBook:
        """Return the band table as it is now."""
        ...

    async def remembered(self, hub_id: HubId) -> Remembered:
        """Return a hub as its last commit left it."""
        ...

    async def foreign(self, hub_id: HubId, sensor_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the sensors that another hub speaks for."""
        ...

    async def commit(self, advances: Sequence[Advance]) -> Committed | Superseded:
        """Write findings, states and ``evaluated`` in one transaction.

        A finding that is there already stays as it was.
        """
        ...

    async def due(self) -> Sequence[Due]:
        """Return everything received, neither refused nor shed, and not evaluated."""
        ...

    async def logged(self, due: Due, limit: int) -> Sequence[Logged]:
        """Return the oldest sequences of ``due`` that ``batch_log`` knows, in order."""
        ...

    async def readings(self, batch: Logged) -> Rows:
        """Return the stored rows of a batch's hub, table and time: its own and perhaps more."""
        ...


class Wakes(Protocol):
    """The part of ``cloud.ports.Lanes`` detection uses."""

    async def send(self, lane: Lane, body: bytes) -> None:
        """Put one message on a lane."""
        ...
