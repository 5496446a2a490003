"""What the reading side needs from the store, in its own words. Nothing here writes."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from cloud.core.gaps import Hole
from cloud.core.views import News, Reading, Row
from wire.ids import Epoch, HubId, SensorId


class ReadingReader(Protocol):
    """Readings by key. Everything raises InfrastructureError while the store is away."""

    async def latest(self, sensor_id: SensorId) -> Reading | None:
        """Return the sensor's newest reading, or None."""
        ...

    def readings(
        self, sensor_id: SensorId, window: tuple[datetime, datetime], limit: int
    ) -> AsyncIterator[Sequence[Reading]]:
        """Yield the readings of ``[start, end)``, oldest first, at most ``limit``, in portions."""
        ...

    async def knows(self, sensor_id: SensorId) -> bool:
        """Return whether a hub has ever spoken for this sensor."""
        ...


class AlertReader(Protocol):
    """Alerts, newest first, each a row as ``read_alerts.sql`` selects it."""

    async def page(
        self, region: str | None, *, active: bool, before: int, limit: int
    ) -> Sequence[Row]:
        """Return alerts with an id below ``before``."""
        ...

    async def these(self, alert_ids: Collection[int]) -> Sequence[Row]:
        """Return these alerts, without those that do not exist."""
        ...

    async def changed(self, since: datetime, limit: int) -> Sequence[Row]:
        """Return alerts opened, acknowledged or resolved since an instant."""
        ...


class AlertNews(Protocol):
    """Word of alerts as they commit."""

    def listen(self) -> AsyncIterator[News]:
        """Yield ``Again`` whenever listening (re)starts, then each change; mends itself."""
        ...


class GapReader(Protocol):
    """What is missing, from the ledger."""

    async def holes(
        self, hub_id: HubId | None, after: tuple[HubId, Epoch, int], limit: int
    ) -> Sequence[Hole]:
        """Return holes by (hub, epoch, low), those after ``after``, of one hub or of all."""
        ...


class Overview(Protocol):
    """The platform at a glance."""

    async def sites(self, after: int, limit: int) -> Sequence[Row]:
        """Return sites with an id above ``after``, as ``read.sql`` selects them."""
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def workers(self) -> Mapping[str, float]:
        """Return for how long each connected ``headgate-STAGE-INDEX`` has been silent, seconds."""
        ...

    async def figures(self) -> Sequence[tuple[str, Mapping[str, str], float]]:
        """Return name, labels and value of every gauge only the database knows."""
        ...
