"""What simulated sensors need from the outside world, in their own words."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from firmware_sim.core.alerting import Alert
from firmware_sim.core.comparison import Refused, Sheds, Stored
from firmware_sim.core.ledger import Entries


class Session(Protocol):
    """One unbroken connection to a broker."""

    async def publish(self, topic: str, body: bytes) -> None:
        """Return once the broker took the message, which promises nothing further.

        Raises:
            InfrastructureError: The connection broke; nobody knows whether it arrived.
        """
        ...

    def replies(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield topic and body of every message subscribed to, as they come.

        Raises:
            InfrastructureError: The connection broke.
        """
        ...


class Broker(Protocol):
    """Where a hub, or the cloud, can be reached."""

    def session(self, filters: tuple[str, ...]) -> AbstractAsyncContextManager[Session]:
        """Connect and subscribe.

        Raises:
            InfrastructureError: No connection just now.
        """
        ...


class Ledger(Protocol):
    """The oracle's memory: everything that was ever made, written before it leaves."""

    def made(self, entries: Entries) -> NDArray[np.int64]:
        """Append readings; return their rows, int64, shape ``(n,)``."""
        ...

    def committed(self, rows: NDArray[np.int64]) -> None:
        """Append which readings their sensors now know to be committed."""
        ...

    def event(self, fields: dict[str, object]) -> None:
        """Append a labelled event."""
        ...

    def note(self, fields: dict[str, object]) -> None:
        """Append a remark, such as how many rows of a file held nothing."""
        ...


class Store(Protocol):
    """The database, read only, as the oracle questions it."""

    async def stored(self, first_sensor: int, last_sensor: int) -> Stored:
        """Return the routine series of a range of sensors, both ends included.

        Raises:
            InfrastructureError: The database cannot answer just now.
        """
        ...

    async def refused(self, first_sensor: int, last_sensor: int) -> Refused:
        """Return the keys of readings refused on record, of a range of sensors."""
        ...

    async def conflicts(self, first_sensor: int, last_sensor: int) -> int:
        """Return how many readings came with other values for an instant already stored."""
        ...

    async def sheds(self) -> Sheds:
        """Return everything hubs said they lost on purpose."""
        ...

    async def alerts(self, first_sensor: int, last_sensor: int) -> list[Alert]:
        """Return every alert, open or resolved, of a range of sensors."""
        ...
