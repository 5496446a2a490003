"""One hub under evaluation: its state, and what waits for the commit."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cloud.core.detect import Detector
from cloud.core.detect_ledger import Advance, Found, Remembered, Version
from cloud.core.detect_rows import Rows
from cloud.ports import Delivery
from wire import ranges
from wire.ids import BatchKey, Epoch, HubId, UnixMs
from wire.ranges import Ranges


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """A batch the state has had, kept until the commit in case the state must be built anew.

    Attributes:
        key: Which.
        rows: Its readings; None for one that has none.
        received_at_ms: The cloud's clock when it came.
        delivery: What to acknowledge; None if it was read from the store.
    """

    key: BatchKey
    rows: Rows | None
    received_at_ms: UnixMs
    delivery: Delivery | None


@dataclass(slots=True, eq=False)
class Hub:
    """A hub in memory.

    Attributes:
        hub_id: Whose.
        detector: State and bands.
        version: Of the state last committed.
        evaluated: What is committed, by epoch.
        waiting: What the state has had since, oldest first.
        found: What it showed.
        passed: Sequences with nothing to evaluate, by epoch, since the last commit.
        foreign: Sensors it reports that are not its own.
        since_ms: Steady clock when the oldest of ``waiting`` was evaluated.
        urgent: Whether the commit must not wait.
    """

    hub_id: HubId
    detector: Detector
    version: Version | None
    evaluated: dict[Epoch, Ranges]
    waiting: dict[BatchKey, Evaluated] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    passed: dict[Epoch, Ranges] = field(default_factory=dict)
    foreign: frozenset[int] = frozenset()
    since_ms: int = 0
    urgent: bool = False

    def knows(self, key: BatchKey) -> bool:
        """Return whether a batch was evaluated already, committed or not."""
        committed = self.evaluated.get(key.epoch, ranges.EMPTY)
        return key in self.waiting or ranges.contains(committed, key.sequence)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.waiting or self.passed)

    def pass_over(self, epoch: Epoch, sequences: Ranges) -> None:
        """Count sequences as evaluated that have nothing to evaluate."""
        self.passed[epoch] = ranges.union(self.passed.get(epoch, ranges.EMPTY), sequences)

    def evaluate(self, batch: Evaluated, now_ms: UnixMs) -> None:
        """Move the state on by a batch it has not had."""
        if batch.rows is not None:
            for finding in self.detector.evaluate(batch.rows, now_ms):
                self.found.append(Found(finding, batch.key, batch.received_at_ms))
                self.urgent = True
        self.waiting[batch.key] = batch

    def advance(self) -> Advance:
        """Return the step from the last commit to here."""
        return Advance(
            self.hub_id,
            self.version,
            self.detector.state.to_bytes(),
            self.news(),
            tuple(self.found),
        )

    def committed(self, version: Version) -> Iterator[Evaluated]:
        """Take note of the commit of ``advance``; yield what may now be acknowledged."""
        for epoch, added in self.news().items():
            self.evaluated[epoch] = ranges.union(self.evaluated.get(epoch, ranges.EMPTY), added)
        self.version = version
        settled = tuple(self.waiting.values())
        self.waiting, self.found, self.passed, self.urgent = {}, [], {}, False
        yield from settled

    def begin_again(self, remembered: Remembered, detector: Detector, now_ms: UnixMs) -> None:
        """Take over what somebody else committed, and evaluate on top of it what still waits."""
        waiting = self.waiting
        self.detector, self.version = detector, remembered.version
        self.evaluated = dict(remembered.evaluated)
        self.waiting, self.found = {}, []
        for key, batch in waiting.items():
            if self.knows(key):
                self.waiting[key] = batch  # nothing left but to acknowledge it
            else:
                self.evaluate(batch, now_ms)

    def news(self) -> dict[Epoch, Ranges]:
        """Return what has been evaluated since the last commit, by epoch."""
        numbers: dict[Epoch, list[int]] = {epoch: [] for epoch in self.passed}
        for key in self.waiting:
            numbers.setdefault(key.epoch, []).append(key.sequence)
        return {
            epoch: ranges.union(ranges.from_numbers(those), self.passed.get(epoch, ranges.EMPTY))
            for epoch, those in numbers.items()
        }
