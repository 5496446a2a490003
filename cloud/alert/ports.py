"""What alerts need from the store. Every method may raise InfrastructureError."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from cloud.core.alert import Alert, AlertKey, Decision, Unsettled


class AlertTransaction(Protocol):
    """One transaction, READ COMMITTED, alone among the transactions of this kind."""

    async def unsettled(self, limit: int) -> Sequence[Unsettled]:
        """Return the oldest findings nobody has settled, in the order they were found."""
        ...

    async def alerts(self, keys: Collection[AlertKey]) -> Sequence[Alert]:
        """Return of each key the open alert and the one resolved last, where there are any."""
        ...

    async def write(self, decision: Decision, findings: Sequence[Unsettled]) -> None:
        """Write alerts, mark the findings settled, and tell whoever listens on commit."""
        ...


class AlertStore(Protocol):
    """Where findings wait and alerts live."""

    def transaction(self) -> AbstractAsyncContextManager[AlertTransaction]:
        """Begin once no other worker is in one; commit at the end, undo everything on a raise.

        One at a time on purpose: findings of one key must be settled in the order they were
        found, and settling 256 of them takes milliseconds.
        """
        ...
