"""What deliveries turn out to be: parcels to be settled, questions, strangers' claims, noise."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol, TypeAlias

from wire.batch import Batch, Flag, Kind, Seal, Tombstone
from wire.codec import open_wire
from wire.control import Hello, decode_hello
from wire.errors import DamagedBatchError, MalformedBatchError, MalformedMessageError
from wire.ids import BatchKey, Epoch, HubId, UnixMs
from wire.limits import REASON_CHARS_MAX
from wire.topics import Address, Channel, parse, topic

KEY_REUSE: Final = "key reuse"  # the store knows such letters by this reason


class Lent(Protocol):
    """What a message is made of, whoever carried it."""

    @property
    def topic(self) -> str:
        """Where it was published; the broker has checked who may."""
        ...

    @property
    def body(self) -> bytes:
        """The bytes as published."""
        ...

    @property
    def received_at_ms(self) -> UnixMs:
        """The cloud's clock when it came."""
        ...


class Life(NamedTuple):
    """One life of a hub's agent: what sequences are counted in."""

    hub_id: HubId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A header that verified over rows that can never be read: a terminal fault.

    Attributes:
        reason: For people.
        attempts: How often reading or storing them was tried.
    """

    reason: str
    attempts: int = 1


Content: TypeAlias = Batch | Tombstone | Unreadable


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """A batch from the hub it says it is from.

    Attributes:
        seal: Its verified header.
        crc: uint32; equal for equal content only.
        content: Its rows, its tombstone, or why it has neither.
        body: The bytes, for those that end as dead letters.
        received_at_ms: The cloud's clock when it came.
    """

    seal: Seal
    crc: int
    content: Content
    body: bytes
    received_at_ms: UnixMs

    @property
    def key(self) -> BatchKey:
        """Its identity."""
        return self.seal.key

    @property
    def life(self) -> Life:
        """Which ledger row it belongs to."""
        return Life(self.key.hub_id, self.key.epoch)

    @property
    def thinned(self) -> bool:
        """Whether rows were merged under its key since it was sealed."""
        return Flag.THINNED in self.seal.flags

    @property
    def rows(self) -> int:
        """How many rows it carries."""
        return len(self.content) if isinstance(self.content, Batch) else 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message no retry can help.

    Attributes:
        key: Whose it is. The hub is the one the broker let speak, not one the bytes claim.
        crc: uint32 of the content.
        reason: For people.
        body: The bytes.
        topic: Where it was published.
        flags: Of its header.
        attempts: How often it was tried before it was given up.
    """

    key: BatchKey
    crc: int
    reason: str
    body: bytes
    topic: str = ""
    flags: Flag = Flag.NONE
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """A hub's hello: what of this do you have?"""

    address: Address
    hello: Hello


@dataclass(slots=True)
class Arrivals:
    """Deliveries, sorted out.

    Attributes:
        parcels: Each key once, in order of arrival.
        questions: The last hello of each hub.
        reused: Keys that came twice with different content, neither of it thinned.
        claims: Batches under another hub's name.
        counts: How many of ``duplicates``, ``damaged``, ``malformed``, ``impostors``, ``reused``.
    """

    parcels: dict[BatchKey, Parcel] = field(default_factory=dict)
    questions: dict[Address, Question] = field(default_factory=dict)
    reused: list[DeadLetter] = field(default_factory=list)
    claims: list[DeadLetter] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """How many rows the parcels carry."""
        return sum(parcel.rows for parcel in self.parcels.values())

    def add(self, message: Lent) -> int:
        """Sort one message out and return how many rows it brought."""
        try:
            address = parse(message.topic)
            if address.channel is Channel.HELLO:
                self.questions[address] = Question(address, decode_hello(message.body))
                return 0
            found = read(message, address)
        except DamagedBatchError:
            self.counts["damaged"] += 1
            return 0
        except (MalformedBatchError, MalformedMessageError):
            self.counts["malformed"] += 1
            return 0
        if isinstance(found, DeadLetter):
            self.counts["impostors"] += 1
            self.claims.append(found)
            return 0
        return self._keep(found)

    def halves(self) -> list["Arrivals"]:
        """Return these in two parts, batches apart from all else; none if they are one batch."""
        parcels = list(self.parcels.items())
        others = self.questions or self.reused or self.claims or self.counts
        if others and parcels:
            return [Arrivals(dict(parcels)), replace(self, parcels={})]
        middle = len(parcels) // 2
        return [Arrivals(dict(parcels[:middle])), Arrivals(dict(parcels[middle:]))][: 2 * middle]

    def _keep(self, parcel: Parcel) -> int:
        first = self.parcels.setdefault(parcel.key, parcel)
        if first is parcel:
            return parcel.rows
        if reuses(parcel, [(first.crc, first.thinned)]):
            self.counts["reused"] += 1
            self.reused.append(dead_letter(parcel, KEY_REUSE))
        else:
            self.counts["duplicates"] += 1
        return 0


def sort_out(messages: Iterable[Lent]) -> Arrivals:
    """Return what these messages are."""
    arrivals = Arrivals()
    for message in messages:
        arrivals.add(message)
    return arrivals


def read(message: Lent, address: Address) -> Parcel | DeadLetter:
    """Return the batch in a message, or the false claim it makes.

    Raises:
        DamagedBatchError: Damage in transit, which a resend heals; never terminal.
        MalformedBatchError: There is no header we speak, so no key to settle.
    """
    opened = open_wire(message.body)
    seal, crc = opened.seal, opened.crc
    if (seal.region, seal.key.hub_id) != (address.region, address.hub_id):
        reason = f"claims to be {seal.region}/{seal.key.hub_id}"
        key = seal.key._replace(hub_id=address.hub_id)
        reason = reason[:REASON_CHARS_MAX]
        return DeadLetter(key, crc, reason, message.body, message.topic, seal.flags)
    content: Content
    try:
        content = opened.content()
    except DamagedBatchError:
        raise
    except MalformedBatchError as fault:
        content = Unreadable(str(fault)[:REASON_CHARS_MAX])
    return Parcel(seal, crc, content, message.body, message.received_at_ms)


def reuses(parcel: Parcel, known: Iterable[tuple[int, bool]]) -> bool:
    """Return whether a parcel is another content under a key that is taken.

    Args:
        parcel: What came.
        known: ``(crc, thinned)`` of each content known under the key; empty if it was shed.
    """
    contents = tuple(known)
    if parcel.thinned or any(thinned for _, thinned in contents):
        return False
    return bool(contents) and all(parcel.crc != crc for crc, _ in contents)


def dead_letter(parcel: Parcel, reason: str, attempts: int = 1) -> DeadLetter:
    """Return a parcel as what is kept of it when nothing else can be."""
    seal = parcel.seal
    channel = Channel.URGENT if seal.kind is Kind.EVIDENCE else Channel.BATCH
    where = topic(seal.region, seal.key.hub_id, channel)
    return DeadLetter(parcel.key, parcel.crc, reason, parcel.body, where, seal.flags, attempts)
