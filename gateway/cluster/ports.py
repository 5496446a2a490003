"""What the cluster's upkeep needs from the broker's management."""

from collections.abc import Mapping
from typing import Any, Protocol


class Management(Protocol):
    """An administrator at the broker. Every method may raise InfrastructureError."""

    @property
    def user(self) -> str:
        """The administrator's own name."""
        ...

    async def definitions(self) -> Mapping[str, list[dict[str, Any]]]:
        """Return everything that is declared, as RabbitMQ's definitions have it."""
        ...

    async def define(self, definitions: Mapping[str, list[dict[str, Any]]]) -> None:
        """Add what is missing; queues and exchanges that are there stay as they are."""
        ...

    async def listeners(self) -> list[dict[str, Any]]:
        """Return ``protocol``, ``port`` and ``socket_opts`` of all that listens, on every node."""
        ...

    async def nodes(self) -> list[dict[str, Any]]:
        """Return ``name``, ``running`` and ``partitions`` of every member."""
        ...

    async def members(self, vhost: str) -> dict[str, list[str]]:
        """Return on which nodes each replicated queue has a copy."""
        ...

    async def shut_out(self, vhost: str, user: str) -> None:
        """Let the user enter no more; what is connected stays. Idempotent."""
        ...

    async def hang_up(self, user: str) -> int:
        """Close the user's connections; return how many there were."""
        ...

    async def forget(self, user: str) -> None:
        """Delete the user. Idempotent."""
        ...
