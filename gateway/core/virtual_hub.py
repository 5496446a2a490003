"""A door's own batches, from admission to receipt: a state machine without clock, chance or I/O.

A door is a hub without a disk. Whoever brings readings gets a ticket, and the ticket is called when
every batch its readings may have gone into is safe: with a receipt, or with a confirmation that
binds (a replicated queue's). What is sealed keeps its bytes, is sent again until it has a receipt,
and is forgotten on a receipt only; under pressure also when it is safe elsewhere.

    OPEN --seal--> WAITING --sent--> FLYING --receipt--> gone
                      ^                 | time, or the link
                      +-----------------+
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.core.readings import Readings, as_batch, batches
from wire.batch import Seal
from wire.codec import encode
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence
from wire.limits import (
    BATCH_BYTES_MAX,
    MIB,
    READINGS_PER_BATCH_MAX,
    READINGS_PER_SENSOR_MESSAGE_MAX,
    RESEND_AFTER_MS,
    RESEND_AFTER_MS_MAX,
)
from wire.ranges import Ranges, contains

SEAL_AFTER_MS: Final = 20
OPEN_ROWS_MAX: Final = 4 * READINGS_PER_BATCH_MAX
HELD_BATCHES_MAX: Final = 8_192
HELD_BYTES_MAX: Final = 32 * MIB
FLYING_MAX: Final = 256
JITTER_SHARE: Final = 0.25

assert OPEN_ROWS_MAX >= READINGS_PER_BATCH_MAX + READINGS_PER_SENSOR_MESSAGE_MAX
assert HELD_BYTES_MAX >= 16 * BATCH_BYTES_MAX
assert FLYING_MAX < HELD_BATCHES_MAX


class Sending(NamedTuple):
    """A batch to be sent now."""

    sequence: int
    body: bytes


@dataclass(slots=True)
class _Load:
    """Batches sealed together and the tickets of everybody in them."""

    tickets: tuple[int, ...]
    unsafe: set[int]


@dataclass(slots=True)
class _Held:
    body: bytes
    load: _Load
    times: int = 0
    again_ms: int = -(2**62)
    flying: bool = False
    safe: bool = False


@dataclass(slots=True)
class VirtualHub:
    """See the module. Times are steady milliseconds, handed in by the caller.

    Attributes:
        hub_id: This replica's own, of the names doors have.
        region: Where the doors stand.
        epoch: This life of this door; never reused.
        next_sequence: The next batch's.
    """

    hub_id: HubId
    region: Region
    epoch: Epoch
    next_sequence: int = 0
    _open: list[Readings] = field(default_factory=list)
    _open_since_ms: int = 0
    _tickets: list[int] = field(default_factory=list)
    _next_ticket: int = 0
    _held: dict[int, _Held] = field(default_factory=dict)
    _held_bytes: int = 0

    def __repr__(self) -> str:
        """Show the state, for logs and tests."""
        return (
            f"<VirtualHub {self.hub_id} {self._open_rows} rows open, {len(self._held)} batches "
            f"held, {self._flying} flying, {self._held_bytes} bytes>"
        )

    @property
    def held(self) -> int:
        """How many sealed batches have no receipt yet."""
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """How many bytes they are."""
        return self._held_bytes

    def admit(self, readings: Readings, now_ms: int) -> int | None:
        """Take a message's readings; return their ticket, None if there is no room for them."""
        if not self._room(len(readings)):
            return None
        if not self._open:
            self._open_since_ms = now_ms
        self._open.append(readings)
        self._tickets.append(self._next_ticket)
        self._next_ticket += 1
        return self._tickets[-1]

    def seal(self, now_ms: int) -> int:
        """Seal what is open if it is full or old enough; return how many batches that made."""
        if not self._open or (
            self._open_rows < READINGS_PER_BATCH_MAX
            and now_ms < self._open_since_ms + SEAL_AFTER_MS
        ):
            return 0
        parts = batches(self._open)
        load = _Load(tuple(self._tickets), set())
        for rows in parts:
            key = BatchKey(self.hub_id, self.epoch, Sequence(self.next_sequence))
            body = encode(as_batch(Seal(key, self.region), rows))
            self._held[self.next_sequence] = _Held(body, load)
            self._held_bytes += len(body)
            load.unsafe.add(self.next_sequence)
            self.next_sequence += 1
        self._open.clear()
        self._tickets.clear()
        return len(parts)

    def offer(self, now_ms: int) -> list[Sending]:
        """Return what to send now, what was never sent first. Changes nothing."""
        places = FLYING_MAX - self._flying
        ready = [n for n, held in self._held.items() if not held.flying and held.again_ms <= now_ms]
        ready.sort(key=lambda n: (self._held[n].times > 0, n))
        return [Sending(n, self._held[n].body) for n in ready[:places]]

    def sent(self, sequence: int, now_ms: int, jitter: float) -> None:
        """Note that a batch goes out now; ``jitter`` in 0..1 spreads its resends."""
        held = self._held[sequence]
        pause_ms = min(RESEND_AFTER_MS << min(held.times, 10), RESEND_AFTER_MS_MAX)
        held.again_ms = now_ms + round(pause_ms * (1 + JITTER_SHARE * jitter))
        held.times += 1
        held.flying = True

    def timeout(self, now_ms: int) -> int:
        """Let what has flown too long wait to be sent again; return how many."""
        late = [held for held in self._held.values() if held.flying and held.again_ms <= now_ms]
        for held in late:
            held.flying = False
        return len(late)

    def disconnected(self) -> None:
        """Note that the link is gone: what flew may or may not have arrived, and goes again."""
        for held in self._held.values():
            if held.flying:
                held.flying, held.again_ms = False, -(2**62)

    def confirmed(self, sequence: int) -> tuple[int, ...]:
        """Note that a batch is safe though not yet stored; return the tickets to call."""
        held = self._held.get(sequence)
        if held is None:
            return ()
        held.safe = True
        return _safe(held.load, (sequence,))

    def receipt(self, received: Ranges, refused: Ranges) -> tuple[int, ...]:
        """Forget what a receipt of our epoch covers; return the tickets to call. Idempotent.

        The tickets of a batch the store refused are never called.
        """
        called: list[int] = []
        for sequence in [n for n in self._held if contains(received, n)]:
            held = self._forget(sequence)
            if contains(refused, sequence):
                held.load.tickets = ()
            called += _safe(held.load, (sequence,))
        return tuple(called)

    def wake_ms(self, now_ms: int) -> int | None:
        """Return when time alone calls for an act again; None if only an event can."""
        times = [held.again_ms for held in self._held.values() if held.again_ms > now_ms]
        if self._open:
            times.append(self._open_since_ms + SEAL_AFTER_MS)
        return min(times, default=None)

    @property
    def _open_rows(self) -> int:
        return sum(map(len, self._open))

    @property
    def _flying(self) -> int:
        return sum(held.flying for held in self._held.values())

    def _room(self, rows: int) -> bool:
        if self._open_rows + rows > OPEN_ROWS_MAX:
            return False
        if self._at_cap():
            for sequence in [n for n, held in self._held.items() if held.safe]:
                self._forget(sequence)
        return not self._at_cap()

    def _at_cap(self) -> bool:
        return len(self._held) >= HELD_BATCHES_MAX or self._held_bytes >= HELD_BYTES_MAX

    def _forget(self, sequence: int) -> _Held:
        held = self._held.pop(sequence)
        self._held_bytes -= len(held.body)
        return held


def _safe(load: _Load, sequences: Collection[int]) -> tuple[int, ...]:
    """Return the tickets that the last of a load's batches was awaited for."""
    awaited = bool(load.unsafe)
    load.unsafe.difference_update(sequences)
    return load.tickets if awaited and not load.unsafe else ()
