"""Dead letters as they are kept, and whether one may be judged again."""

from dataclasses import dataclass
from enum import StrEnum

from cloud.core.arrivals import DeadLetter, Parcel, read
from wire.errors import MalformedBatchError, MalformedMessageError
from wire.ids import BatchKey, UnixMs
from wire.limits import REASON_CHARS_MAX
from wire.topics import parse


class LetterKind(StrEnum):
    """Why it is dead, in the one word that decides what may become of it."""

    REFUSED = "refused"  # its key is settled as refused: with the right reader it may yet be stored
    REUSED = "reused"  # another content has its key
    CLAIM = "claim"  # it speaks in another hub's name


class State(StrEnum):
    """What people have decided."""

    KEPT = "kept"
    REPLAYED = "replayed"  # stored after all, under its own key
    DROPPED = "dropped"  # never to be stored; the record stays


class Fate(StrEnum):
    """What came of one attempt to decide."""

    STORED = "stored"  # it is now
    DROPPED = "dropped"  # it is now
    STILL_BAD = "still_bad"  # judged again, and kept with one attempt more
    DECIDED = "decided"  # somebody has decided before; nothing was done
    UNKNOWN = "unknown"  # there is no such letter


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter, as somebody takes it up. Arrives again as it did: see ``arrivals.Lent``.

    Attributes:
        letter_id: Its number in the store.
        key: Whose it is.
        crc: uint32 of the content.
        kind: Why it is dead.
        state: What was decided.
        reason: For people.
        topic: Where it was published; empty if nobody remembers.
        body: The bytes.
        received_at_ms: When it first failed.
    """

    letter_id: int
    key: BatchKey
    crc: int
    kind: LetterKind
    state: State
    reason: str
    topic: str
    body: bytes
    received_at_ms: UnixMs


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of deciding one letter.

    Attributes:
        letter_id: Which.
        fate: What is true of it now.
        reason: Why it is still bad, or who decided before; empty otherwise.
        rows: Routine rows stored by this decision.
        evidence: Evidence rows stored.
        refused_rows: Rows of it refused one by one.
        duplicate_rows: Rows that say again what is stored.
        conflicts: Rows that say something else than what is stored; kept aside.
    """

    letter_id: int
    fate: Fate
    reason: str = ""
    rows: int = 0
    evidence: int = 0
    refused_rows: int = 0
    duplicate_rows: int = 0
    conflicts: int = 0


def fault_of(letter: Letter) -> str | None:
    """Return why a letter cannot even be judged, None if it is a batch of its own hub's.

    What speaks in another's name, or under a key that is taken, stays so whoever reads it.
    """
    if letter.kind is not LetterKind.REFUSED:
        return letter.reason
    try:
        found: Parcel | DeadLetter = read(letter, parse(letter.topic))
    except (MalformedBatchError, MalformedMessageError) as fault:
        return str(fault)[:REASON_CHARS_MAX]
    return found.reason if isinstance(found, DeadLetter) else None
