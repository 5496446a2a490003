"""Which hubs a worker owns where the broker cannot share a queue out among workers."""

import zlib
from dataclasses import dataclass

from wire.ids import HubId


@dataclass(frozen=True, slots=True)
class Share:
    """Worker ``index`` of ``count``; every hub belongs to exactly one of them.

    Attributes:
        index: 0-based.
        count: At least 1.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse a share of nothing.

        Raises:
            ValueError: There is no such worker.
        """
        if not 0 <= self.index < self.count:
            raise ValueError(f"no worker {self.index} among {self.count}")

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Return the share written ``"0/2"``.

        Raises:
            ValueError: It is not written so.
        """
        index, _, count = text.partition("/")
        return cls(int(index), int(count))

    def owns(self, hub_id: HubId) -> bool:
        """Return whether this worker answers for the hub."""
        return zlib.crc32(hub_id.encode()) % self.count == self.index
