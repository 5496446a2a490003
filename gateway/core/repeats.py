"""Idempotency keys: a message sent again under its key is the message first sent."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from wire.ids import UnixMs

KEY_CHARS_MAX: Final = 255
REMEMBERED_MS: Final = 600_000
KEYS_MAX: Final = 65_536


@dataclass(slots=True)
class Repeats:
    """When each key was first heard, and of which body; the oldest are forgotten first."""

    _heard: "OrderedDict[str, tuple[UnixMs, bytes]]" = field(default_factory=OrderedDict)

    def first(self, key: str, digest: bytes, now_ms: UnixMs) -> UnixMs | None:
        """Return when this key was first heard, now if it never was; None if of another body.

        Args:
            key: What the client calls the message, under its own name.
            digest: Of the body.
            now_ms: Arrival.
        """
        while self._heard and now_ms - next(iter(self._heard.values()))[0] > REMEMBERED_MS:
            self._heard.popitem(last=False)
        at_ms, known = self._heard.setdefault(key, (now_ms, digest))
        if len(self._heard) > KEYS_MAX:
            self._heard.popitem(last=False)
        return at_ms if known == digest else None
