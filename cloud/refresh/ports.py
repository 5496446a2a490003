"""What refresh needs from the store."""

from typing import Protocol

from wire.control import Health
from wire.ids import HubId, Region


class HubRegister(Protocol):
    """What hubs last said. Idempotent; what is older than what is known changes nothing.

    Every method may raise InfrastructureError, and then has changed nothing.
    """

    async def born(self, region: Region, hub_id: HubId, health: Health) -> None:
        """Note that a hub connected, and all that ``reported`` notes."""
        ...

    async def reported(self, region: Region, hub_id: HubId, health: Health) -> None:
        """Note a hub's health, and raise its ledger to the sequences it announces."""
        ...

    async def gone(self, region: Region, hub_id: HubId, health: Health) -> None:
        """Note that a hub's connection broke, unless it was born again since."""
        ...
