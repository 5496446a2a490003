"""wire.codec: round trip, and no byte string can raise anything but MalformedBatchError."""

import zlib
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.builders import HUB, NOON, a_batch, a_seal, a_tombstone
from wire.batch import Batch, Flag, Kind, Seal, Tombstone
from wire.codec import decode, encode, peek, quantise
from wire.errors import DamagedBatchError, MalformedBatchError
from wire.ids import BatchKey, Epoch, HubId, Region, Sequence, UnixMs
from wire.limits import BATCH_BYTES_MAX, READINGS_PER_BATCH_MAX, SAMPLES_MAX, TIME_MS_MAX
from wire.metric import HIGH, LOW, METRICS

names = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)


@st.composite
def seals(draw: st.DrawFn) -> Seal:
    backfill = draw(st.booleans())
    thinned = draw(st.booleans())
    return Seal(
        BatchKey(
            HubId(draw(names)),
            Epoch(draw(st.integers(0, 2**63 - 1))),
            Sequence(draw(st.integers(0, 2**53 - 1))),
        ),
        Region(draw(names)),
        draw(st.sampled_from([Kind.ROUTINE, Kind.EVIDENCE])),
        (Flag.BACKFILL if backfill else Flag.NONE) | (Flag.THINNED if thinned else Flag.NONE),
        UnixMs(draw(st.integers(0, TIME_MS_MAX)) if backfill else 0),
        draw(st.integers(0, SAMPLES_MAX)) if thinned else 0,
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    keys = draw(
        st.sets(
            st.tuples(st.integers(0, 2**63 - 1), st.integers(0, TIME_MS_MAX)),
            min_size=1,
            max_size=30,
        )
    )
    n = len(keys)
    sensor_ids, times = zip(*sorted(keys), strict=True)
    unit = draw(arrays(np.float64, (n, METRICS), elements=st.floats(0, 1) | st.just(np.nan)))
    values = (LOW + unit * (HIGH.astype(np.float64) - LOW)).astype(np.float32)
    score = draw(arrays(np.int64, n, elements=st.integers(-1, 254)))
    return Batch(
        draw(seals()),
        np.array(sensor_ids, np.int64),
        np.array(times, np.int64),
        quantise(values),
        draw(arrays(np.int16, n, elements=st.integers(0, 2**15 - 1))),
        np.where(score < 0, np.nan, score / 254).astype(np.float32),
        draw(arrays(np.int32, n, elements=st.integers(1, SAMPLES_MAX))),
    )


@given(batches())
def test_decode_undoes_encode(sent: Batch) -> None:
    received = decode(encode(sent))
    assert isinstance(received, Batch)
    assert received.seal == sent.seal
    for column in ("sensor_ids", "observed_at_ms", "values", "quality", "score", "samples"):
        theirs, ours = getattr(received, column), getattr(sent, column)
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)


@given(batches())
def test_encoding_is_deterministic_and_canonical(batch: Batch) -> None:
    assert encode(decode(encode(batch))) == encode(batch)


@given(batches())
def test_peek_reads_the_same_seal_without_the_rows(batch: Batch) -> None:
    assert peek(encode(batch)).seal == batch.seal


def test_tombstone_survives_the_wire() -> None:
    assert decode(encode(a_tombstone())) == a_tombstone()


def test_content_crc_differs_when_one_value_differs() -> None:
    assert peek(encode(a_batch(ph=7.0))).crc != peek(encode(a_batch(ph=7.001))).crc


@given(st.binary(max_size=256))
def test_any_bytes_decode_or_are_malformed(body: bytes) -> None:
    with suppress(MalformedBatchError):
        decode(body)


@given(batches(), st.data())
def test_any_flipped_bit_is_damage_never_a_verdict(batch: Batch, data: st.DataObject) -> None:
    """Damage must never look like the hub's own fault, or a resend could not heal it."""
    body = bytearray(encode(batch))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedBatchError):
        decode(bytes(body))


@given(batches(), st.data())
def test_any_truncation_is_damage(batch: Batch, data: st.DataObject) -> None:
    body = encode(batch)
    with pytest.raises(DamagedBatchError):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


def test_largest_legal_batch_of_noise_fits_the_frame() -> None:
    rng = np.random.default_rng(7)
    n = READINGS_PER_BATCH_MAX
    noise = LOW + rng.random((n, METRICS)) * (HIGH.astype(np.float64) - LOW)
    noise[rng.random((n, METRICS)) < 0.5] = np.nan
    batch = Batch(
        Seal(BatchKey(HubId("h" * 64), Epoch(2**63 - 1), Sequence(2**53 - 1)), Region("r" * 64)),
        np.sort(rng.integers(0, 2**63 - 1, n)),
        rng.integers(0, TIME_MS_MAX, n),
        noise.astype(np.float32),
        rng.integers(0, 2**15, n).astype(np.int16),
        rng.random(n).astype(np.float32),
        rng.integers(1, SAMPLES_MAX, n).astype(np.int32),
    )
    assert len(encode(batch)) <= BATCH_BYTES_MAX


@pytest.mark.parametrize("metric", range(METRICS))
def test_bounds_of_nature_travel_exactly(metric: int) -> None:
    values = np.full((2, METRICS), np.nan, np.float32)
    values[:, metric] = LOW[metric], HIGH[metric]
    ones = np.ones(2, np.int32)
    sent = Batch(
        a_seal(),
        np.array([1, 2]),
        np.array([NOON, NOON]),
        values,
        np.zeros(2, np.int16),
        np.full(2, np.nan, np.float32),
        ones,
    )
    received = decode(encode(sent))
    assert isinstance(received, Batch)
    np.testing.assert_array_equal(received.values, values)


HEADER = "hub_id epoch sequence region kind flags floor_ms rows_lost rows mask columns"


def forged(body: bytes, **changes: object) -> bytes:
    """Return a whole batch with true checksums whose header or body says something else."""
    version, header, _, rows = msgpack.unpackb(encode(a_batch()))
    fields = msgpack.unpackb(header)
    body = body or rows
    fields[11] = zlib.crc32(body)
    for name, value in changes.items():
        fields[HEADER.split().index(name)] = value
    header = msgpack.packb(fields)
    return bytes(msgpack.packb([version, header, zlib.crc32(header, version), body]))


@pytest.mark.parametrize(
    "changes",
    [
        {"hub_id": "Hub 1"},
        {"hub_id": None},
        {"region": "nørth"},
        {"epoch": -1},
        {"epoch": 2**63},
        {"epoch": True},
        {"epoch": 1.5},
        {"sequence": 2**53},
        {"kind": 99},
        {"flags": 64},
        {"floor_ms": 5},
        {"rows_lost": 5},
        {"rows": 0},
        {"rows": READINGS_PER_BATCH_MAX + 1},
        {"rows": 2},
        {"mask": 2**14},
        {"mask": 0},
        {"columns": []},
        {"columns": [[0, 0]] * 6},
        {"columns": [[0, 9]] * 6},
        {"columns": [[2**63, 0]] * 6},
        {"columns": [[0.5, 0]] * 6},
        {"columns": [[-1, 0], [0, 0], [0, 0], [0, 0], [1, 0], [0, 0]]},
    ],
    ids=str,
)
def test_a_whole_header_that_lies_is_malformed_for_ever(changes: dict[str, object]) -> None:
    with pytest.raises(MalformedBatchError) as caught:
        decode(forged(b"", **changes))
    assert not isinstance(caught.value, DamagedBatchError)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no frame at all",
        zstd.compress(b"\0" * 7),
        zstd.compress(b""),
        zstd.compress(b"") + zstd.compress(b""),
        zstd.compress(b"\x80")[:-1],
        zstd.compress(b"\0" * 2**24),
    ],
    ids=["empty", "text", "larger", "smaller", "two frames", "cut", "bomb"],
)
def test_a_whole_body_that_is_no_frame_of_the_declared_size_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBatchError) as caught:
        decode(forged(body or b"\0"))
    assert not isinstance(caught.value, DamagedBatchError)


def test_another_version_is_refused_by_name() -> None:
    _, header, _, rows = msgpack.unpackb(encode(a_batch()))
    future = msgpack.packb([2, header, zlib.crc32(header, 2), rows])
    with pytest.raises(MalformedBatchError, match="version 2, expected 1"):
        decode(future)


def test_a_version_byte_flipped_in_transit_is_damage() -> None:
    _, header, crc, rows = msgpack.unpackb(encode(a_batch()))
    with pytest.raises(DamagedBatchError):
        decode(msgpack.packb([2, header, crc, rows]))


def test_too_many_bytes_are_not_even_parsed() -> None:
    with pytest.raises(DamagedBatchError, match="exceeds"):
        decode(b"\x94" + b"\0" * BATCH_BYTES_MAX)


def test_an_impossible_value_decodes_because_rows_are_judged_one_by_one() -> None:
    batch = a_batch(ph=15.2)
    received = decode(encode(batch))
    assert isinstance(received, Batch)
    assert received.values[0, 0] == np.float32(15.2)


def test_a_tombstone_with_rows_is_malformed() -> None:
    with pytest.raises(MalformedBatchError):
        decode(forged(b"", kind=int(Kind.SHED)))


def test_builders_agree_on_who_speaks() -> None:
    assert a_batch().key.hub_id == HUB
    assert isinstance(a_tombstone(), Tombstone)
