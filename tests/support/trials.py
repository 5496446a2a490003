"""Trials over memory: it outlives every process a test ends."""

from collections import Counter
from dataclasses import dataclass, field

from wire.errors import InfrastructureError


@dataclass
class MemoryTrials:
    """See ``cloud.ports.Trials``. ``away`` makes it fail."""

    begun: Counter[bytes] = field(default_factory=Counter)
    away: bool = False

    async def begin(self, digest: bytes) -> int:
        if self.away:
            raise InfrastructureError("memory: away")
        self.begun[digest] += 1
        return self.begun[digest]

    async def spare(self, digest: bytes) -> None:
        if self.begun[digest]:
            self.begun[digest] -= 1
