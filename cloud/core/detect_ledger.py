"""What detection keeps in the store: state, what is evaluated, and findings on their way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from water.finding import Finding
from wire.batch import Flag, Kind
from wire.ids import BatchKey, Epoch, HubId, UnixMs
from wire.ranges import Ranges

OVERDUE_MS: Final = 10_000  # the sweep leaves younger batches to the broker
Version: TypeAlias = object
"""Which state a commit builds on; only the store that gave it knows what it is."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A hub as its last commit left it.

    Attributes:
        state: A snapshot, or None if there never was one.
        version: Of the state, or None.
        evaluated: What every epoch's batches have had.
    """

    state: bytes | None = None
    version: Version | None = None
    evaluated: Mapping[Epoch, Ranges] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A finding and the batch that completed it.

    Attributes:
        finding: What.
        key: Whose batch.
        received_at_ms: The cloud's clock when the batch came.
    """

    finding: Finding
    key: BatchKey
    received_at_ms: UnixMs


@dataclass(frozen=True, slots=True)
class Advance:
    """One hub's step: all of it is committed, or nothing.

    Attributes:
        hub_id: Whose.
        version: The state it builds on; None = there was none.
        state: The new snapshot.
        evaluated: New sequences, by epoch.
        found: In the order they were concluded.
    """

    hub_id: HubId
    version: Version | None
    state: bytes
    evaluated: Mapping[Epoch, Ranges]
    found: Sequence[Found]


@dataclass(frozen=True, slots=True)
class Committed:
    """The steps are committed: the version each hub's next one builds on."""

    versions: Mapping[HubId, Version]


@dataclass(frozen=True, slots=True)
class Superseded:
    """Nothing was committed: somebody else has moved these hubs on, or our own lost commit did."""

    hub_ids: frozenset[HubId]


@dataclass(frozen=True, slots=True)
class Due:
    """Sequences the hub ledger has received and ``evaluated`` has not."""

    hub_id: HubId
    epoch: Epoch
    sequences: Ranges


@dataclass(frozen=True, slots=True)
class Logged:
    """A batch as ``batch_log`` remembers it.

    Attributes:
        key: Which.
        kind: Which table its rows are in; SHED has none.
        flags: See ``wire.batch.Flag``.
        observed_from_ms: Its oldest row.
        observed_to_ms: Its newest.
        received_at_ms: The cloud's clock when it came.
        overdue: Stored for longer than ``OVERDUE_MS``.
    """

    key: BatchKey
    kind: Kind
    flags: Flag
    observed_from_ms: UnixMs
    observed_to_ms: UnixMs
    received_at_ms: UnixMs
    overdue: bool
