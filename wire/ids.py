"""Identifiers as distinct types, so a hub can never be passed where a sensor belongs."""

import re
from typing import Final, NamedTuple, NewType

from wire.limits import NAME_CHARS_MAX

SensorId = NewType("SensorId", int)
HubId = NewType("HubId", str)
Region = NewType("Region", str)
Epoch = NewType("Epoch", int)
Sequence = NewType("Sequence", int)
UnixMs = NewType("UnixMs", int)

_NAME: Final = re.compile(rf"[a-z0-9-]{{1,{NAME_CHARS_MAX}}}", re.ASCII)


class BatchKey(NamedTuple):
    """The identity of a batch, everywhere: on the wire, in the store, in the logs.

    Attributes:
        hub_id: Who sealed it.
        epoch: 63 random bits drawn at every start of the hub's agent; never reused, no clock in it.
        sequence: 0-based place within the epoch, ``< SEQUENCE_MAX``; no gaps, no reuse.
    """

    hub_id: HubId
    epoch: Epoch
    sequence: Sequence


def is_name(text: object) -> bool:
    """Return whether ``text`` may be a hub id or a region: ``[a-z0-9-]{1,64}``."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None
