"""Batch <-> bytes.

A msgpack array ``[version, header, header_crc, body]``. The header is itself msgpack, so identity
can be read, verified and logged without touching the rows; it carries the body's CRC, so the
header's own CRC identifies the whole content. The body is the columns in the order of ``_Shape``:
values as whole steps of their metric's resolution, each column as zigzag differences in as few
bytes as its widest needs, bytes of equal weight side by side, then one zstd frame.
``docs/wire.md`` shows the bytes of one batch.

Decoding is bounded before it allocates: a frame is read only if the size it declares is exactly
what the verified header's shape needs.
"""

import zlib
from collections.abc import Sequence as Widths
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from backports import zstd
from numpy.typing import NDArray

from wire.batch import Batch, Flag, Kind, Seal, Tombstone
from wire.errors import DamagedBatchError, MalformedBatchError
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence, UnixMs
from wire.limits import BATCH_BYTES_MAX, HEADER_BYTES_MAX, READINGS_PER_BATCH_MAX
from wire.metric import METRICS, RESOLUTION
from wire.pack import UNPACKABLE, pack, unpack

VERSION: Final = 1

_SCORE_STEPS: Final = 254
_MARKS: Final = 5  # sensor id, time, quality, score, samples: the columns every batch has
_MARK_LIMITS: Final = np.array(
    [[2**15], [1 + _SCORE_STEPS + 1], [2**31]]
)  # quality, score, samples
_FRAME_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 18}
_LEVEL: Final = 3

_BYTES: Final = (1, 1, 2, 4, 4, 8, 8, 8, 8)
"""Of the smallest integer that holds so many bytes."""
_HOLDS: Final = [(np.dtype(f"<u{held}"), np.dtype(f"<i{held}")) for held in _BYTES]

# A legal frame never needs a window wider than its content, which must fit under the option above.
assert READINGS_PER_BATCH_MAX * 8 * (_MARKS + METRICS) + METRICS * READINGS_PER_BATCH_MAX < 2**18

_E = TypeVar("_E", Kind, Flag)


class Peek(NamedTuple):
    """What the verified header says.

    Attributes:
        seal: Identity and kind.
        crc: uint32 over header and, through it, body: equal for equal content only.
    """

    seal: Seal
    crc: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """How the rows lie in the body.

    Attributes:
        rows: Number of rows.
        mask: Bit ``m`` is set when any row measured metric ``m``.
        columns: ``(first value, width in bytes of one difference)`` of each column.
    """

    rows: int
    mask: int
    columns: tuple[tuple[int, int], ...]

    def metrics(self) -> list[int]:
        return [metric for metric in range(METRICS) if self.mask >> metric & 1]

    def body_bytes(self) -> int:
        bitmap = -(-self.rows // 8)
        return sum(w for _, w in self.columns) * self.rows + len(self.metrics()) * bitmap


def quantise(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values rounded to their metric's resolution, as they will come off the wire.

    Args:
        values: Shape ``(n, METRICS)``, finite or NaN.
    """
    steps: NDArray[np.float64] = np.rint(values / RESOLUTION)
    return (steps * RESOLUTION).astype(np.float32)


def encode(batch: Batch | Tombstone) -> bytes:
    """Return the wire form, at most ``BATCH_BYTES_MAX`` bytes. Deterministic."""
    if isinstance(batch, Tombstone):
        shape, body = _Shape(0, 0, ()), _encode_tombstone(batch)
    else:
        shape, raw = _encode_rows(batch)
        body = zstd.compress(raw, _LEVEL)
    seal = batch.seal
    header = pack(
        [
            *seal.key,
            seal.region,
            int(seal.kind),
            int(seal.flags),
            seal.floor_ms,
            seal.rows_lost,
            shape.rows,
            shape.mask,
            shape.columns,
            zlib.crc32(body),
        ]
    )
    wire = pack([VERSION, header, zlib.crc32(header, VERSION), body])
    assert len(header) <= HEADER_BYTES_MAX
    assert len(wire) <= BATCH_BYTES_MAX
    return wire


def peek(wire: bytes) -> Peek:
    """Return identity and content CRC from the header alone.

    Raises:
        DamagedBatchError: The bytes are cut short or altered; nothing in them can be believed.
        MalformedBatchError: The header is whole, but not one we speak.
    """
    opened = open_wire(wire)
    return Peek(opened.seal, opened.crc)


def decode(wire: bytes) -> Batch | Tombstone:
    """Return what was encoded.

    Raises:
        DamagedBatchError: The bytes are cut short or altered; a resend heals it.
        MalformedBatchError: They are as they were sent and still no batch; no resend can help.
            Nothing else escapes.
    """
    return open_wire(wire).content()


def verify(wire: bytes) -> None:
    """Read no row; see that the bytes are as they were encoded.

    Raises:
        DamagedBatchError: They are cut short or altered.
        MalformedBatchError: The header is whole, but not one we speak.
    """
    open_wire(wire).verify()


class Opened(NamedTuple):
    """A batch whose header verified; its rows are still bytes.

    Attributes:
        seal: Identity and kind.
        crc: As in ``Peek``.
        shape: How the rows lie in the body.
        body_crc: What the header says of the body.
        body: One zstd frame, or a tombstone.
    """

    seal: Seal
    crc: int
    shape: _Shape
    body_crc: int
    body: bytes

    def verify(self) -> None:
        """Raise ``DamagedBatchError`` if the body is not what the header says of it."""
        if zlib.crc32(self.body) != self.body_crc:
            raise DamagedBatchError("body does not match its checksum")

    def content(self) -> Batch | Tombstone:
        """Return the whole of it; raises as ``decode`` does."""
        self.verify()
        try:
            if self.seal.kind is Kind.SHED:
                return _decode_tombstone(self.seal, self.body)
            return _decode_rows(self.seal, self.shape, _inflate(self.shape, self.body))
        except (ValueError, TypeError, *UNPACKABLE) as exc:
            raise MalformedBatchError(str(exc)) from exc


def open_wire(wire: bytes) -> Opened:
    """Return the header, verified once, for whoever needs it before and beside the rows.

    Raises:
        DamagedBatchError: The bytes are cut short or altered; nothing in them can be believed.
        MalformedBatchError: The header is whole, but not one we speak.
    """
    if len(wire) > BATCH_BYTES_MAX:
        raise DamagedBatchError(f"{len(wire)} bytes exceeds {BATCH_BYTES_MAX}")
    try:
        version, header, crc, body = unpack(wire, bytes_max=BATCH_BYTES_MAX)
        whole = type(version) is int and 0 <= version < 128 and type(header) is bytes
        if not whole or type(body) is not bytes or zlib.crc32(header, version) != crc:
            raise DamagedBatchError("header does not match its checksum")
    except (ValueError, TypeError, *UNPACKABLE) as exc:
        raise DamagedBatchError("envelope does not parse") from exc
    if version != VERSION:
        raise MalformedBatchError(f"version {version}, expected {VERSION}")
    try:
        seal, shape, body_crc = _read_header(header)
    except (ValueError, TypeError, *UNPACKABLE) as exc:
        raise MalformedBatchError(str(exc)) from exc
    return Opened(seal, crc, shape, body_crc, body)


def _read_header(header: bytes) -> tuple[Seal, _Shape, int]:
    fields = unpack(header, bytes_max=HEADER_BYTES_MAX)
    if type(fields) is not list or len(fields) != 12:
        raise ValueError("header has another number of fields")
    hub_id, epoch, sequence, region, *numbers, columns, body_crc = fields
    epoch, sequence, body_crc = _natural(epoch), _natural(sequence), _natural(body_crc)
    kind, flags, floor_ms, rows_lost, rows, mask = map(_natural, numbers)
    seal = Seal(
        BatchKey(HubId(hub_id), Epoch(epoch), Sequence(sequence)),
        Region(region),
        _member(Kind, kind),
        _member(Flag, flags),
        UnixMs(floor_ms),
        rows_lost,
    )
    shape = _Shape(rows, mask, tuple(_column(column) for column in columns))
    if seal.kind is Kind.SHED:
        legal = (rows, mask, len(shape.columns)) == (0, 0, 0)
    else:
        legal = 1 <= rows <= READINGS_PER_BATCH_MAX and 0 <= mask < 1 << METRICS
        legal = legal and len(shape.columns) == _MARKS + len(shape.metrics())
    if not legal:
        raise ValueError("header describes no legal body")
    return seal, shape, body_crc


def _member(enum: type[_E], number: int) -> _E:
    member = enum(number)
    if not isinstance(member, enum):
        raise ValueError(f"{number} is no {enum.__name__}")  # an IntFlag keeps unknown bits
    if enum is Flag and number > sum(Flag):
        raise ValueError(f"{number} has unknown flags")
    return member


def _column(pair: Any) -> tuple[int, int]:
    base, width = pair
    if (
        type(base) is not int
        or not -(2**63) <= base < 2**63
        or type(width) is not int
        or not 0 <= width <= 8
    ):
        raise ValueError("a column has no legal base and width")
    return base, width


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number is not natural")
    return value


def _encode_rows(batch: Batch) -> tuple[_Shape, bytes]:
    present = ~np.isnan(batch.values)
    measured = present.any(axis=0)
    mask = int((measured << np.arange(METRICS)).sum())
    steps = np.rint(batch.values[:, measured] / RESOLUTION[measured]).T
    score = np.where(np.isnan(batch.score), 0, 1 + np.rint(batch.score * _SCORE_STEPS))
    columns = np.empty((_MARKS + len(steps), len(batch)), np.int64)
    marks = (batch.sensor_ids, batch.observed_at_ms, batch.quality, score, batch.samples)
    columns[:_MARKS] = marks
    columns[_MARKS:] = _filled(steps, present[:, measured].T)
    zigzag = np.zeros(columns.shape, np.uint64)
    differences = np.diff(columns)
    zigzag[:, 1:] = ((differences << 1) ^ (differences >> 63)).view(np.uint64)
    planes = zigzag.astype("<u8", copy=False).view(np.uint8).reshape(*columns.shape, 8)
    planes = planes.transpose(0, 2, 1)
    used = np.bitwise_or.reduce(zigzag, axis=1)
    widths = [-(-int(bits).bit_length() // 8) for bits in used]
    bitmaps = np.packbits(present[:, measured].T, axis=1)
    shape = _Shape(len(batch), mask, tuple(zip(columns[:, 0].tolist(), widths, strict=True)))
    return shape, planes[_kept(widths, 8)].tobytes() + bitmaps.tobytes()


def _filled(steps: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return ``(m, n)`` steps as integers; a gap repeats the value before it and costs nothing."""
    last = np.maximum.accumulate(np.where(present, np.arange(steps.shape[1]), -1), axis=1)
    first = np.argmax(present, axis=1)[:, None]
    metric, row = np.arange(len(steps))[:, None], np.where(last < 0, first, last)
    filled: NDArray[np.int64] = steps[metric, row].astype(np.int64)
    return filled


def _kept(widths: Widths[int], widest: int) -> NDArray[np.bool_]:
    """Return shape ``(columns, widest)``: which byte planes travel."""
    return np.arange(widest) < np.array(widths)[:, None]


def _inflate(shape: _Shape, body: bytes) -> bytes:
    need = shape.body_bytes()
    try:
        declared = zstd.get_frame_info(body).decompressed_size
        if declared != need or zstd.get_frame_size(body) != len(body):
            raise MalformedBatchError(f"frame declares {declared} bytes, its header {need}")
        raw = zstd.ZstdDecompressor(options=_FRAME_OPTIONS).decompress(body, max_length=need)
    except zstd.ZstdError as exc:
        raise MalformedBatchError(str(exc)) from exc
    if len(raw) != need:
        raise MalformedBatchError(f"frame holds {len(raw)} bytes, its header {need}")
    return raw


def _decode_rows(seal: Seal, shape: _Shape, raw: bytes) -> Batch:
    columns, at = _columns(shape, raw)
    sensor_ids, observed_at_ms, quality, score, samples = columns[:_MARKS]
    if not ((columns[2:_MARKS] >= 0) & (columns[2:_MARKS] < _MARK_LIMITS)).all():
        raise ValueError("a mark is out of range")
    metrics = shape.metrics()
    bitmaps = np.frombuffer(raw, np.uint8, offset=at).reshape(len(metrics), -(-shape.rows // 8))
    absent = np.unpackbits(bitmaps, axis=1, count=shape.rows) == 0
    measured = (columns[_MARKS:] * RESOLUTION[metrics, None]).astype(np.float32)
    measured[absent] = np.nan
    by_metric = np.full((METRICS, shape.rows), np.nan, np.float32)
    by_metric[metrics] = measured
    return Batch(
        seal,
        sensor_ids,
        observed_at_ms,
        by_metric.T,  # a view: column after column, as both its writers and its readers walk it
        quality.astype(np.int16),
        np.where(score > 0, (score - 1) / _SCORE_STEPS, np.nan).astype(np.float32),
        samples.astype(np.int32),
    )


def _columns(shape: _Shape, raw: bytes) -> tuple[NDArray[np.int64], int]:
    """Return every column, shape ``(columns, rows)``, and where the bitmaps begin."""
    columns = np.empty((len(shape.columns), shape.rows), np.int64)
    at = 0
    for column, (base, width) in zip(columns, shape.columns, strict=True):
        if width:
            planes = np.frombuffer(raw, np.uint8, width * shape.rows, at)
            np.cumsum(_differences(planes.reshape(width, shape.rows)), out=column)
            column += base
            at += planes.size
        else:
            column.fill(base)
    return columns, at


def _differences(planes: NDArray[np.uint8]) -> NDArray[np.signedinteger[Any]]:
    """Return what byte planes, least weight first, count in zigzag; no wider than they need."""
    width, rows = planes.shape
    unsigned, signed = _HOLDS[width]
    if width == 1:
        zigzag: NDArray[np.unsignedinteger[Any]] = planes[0]
    else:
        zigzag = np.zeros(rows, unsigned)
        zigzag.view(np.uint8).reshape(rows, -1)[:, :width] = planes.T
    differences: NDArray[np.signedinteger[Any]] = (zigzag >> 1).view(signed)
    differences ^= -(zigzag & 1).view(signed)
    return differences


def _encode_tombstone(lost: Tombstone) -> bytes:
    times = (lost.observed_from_ms, lost.observed_to_ms)
    return pack([lost.epoch, lost.low, lost.high, *times, lost.rows, lost.reason])


def _decode_tombstone(seal: Seal, body: bytes) -> Tombstone:
    *numbers, reason = unpack(body, bytes_max=HEADER_BYTES_MAX)
    epoch, low, high, observed_from_ms, observed_to_ms, rows = map(_natural, numbers)
    if type(reason) is not str:
        raise ValueError("a reason is not text")
    times = (UnixMs(observed_from_ms), UnixMs(observed_to_ms))
    return Tombstone(seal, Epoch(epoch), low, high, *times, rows, reason)
