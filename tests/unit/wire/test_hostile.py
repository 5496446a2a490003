"""Hostile bytes cost bounded memory: no decoder allocates on a stranger's word."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import msgpack
import pytest
from backports import zstd

from tests.support.builders import a_batch
from wire.codec import decode, encode
from wire.control import decode_health, decode_hello, decode_receipt
from wire.errors import PeerError
from wire.limits import BATCH_BYTES_MAX, MIB, SENSOR_MESSAGE_BYTES_MAX
from wire.reading import decode_status, parse_sensor_message

BOMB = zstd.compress(b"\0" * (64 * MIB))
WIDE_WINDOW = b"\x28\xb5\x2f\xfd\x00\x88" + b"\x00" * 32  # a frame that wants a 128 MiB window

CORPUS = {
    "nothing": b"",
    "zstd bomb": BOMB,
    "wide window": WIDE_WINDOW,
    "array of 4G": b"\xdd\xff\xff\xff\xff",
    "map of 4G": b"\xdf\xff\xff\xff\xff",
    "bin of 4G": b"\xc6\xff\xff\xff\xff",
    "text of 4G": b"\xdb\xff\xff\xff\xff",
    "ext of 4G": b"\xc9\xff\xff\xff\xff\x01",
    "1,000 nested arrays": b"\x91" * 1_000 + b"\xc0",
    "60,000 nested arrays": b"\x91" * 60_000 + b"\xc0",
    "1,000 nested lists": b"[" * 1_000 + b"]" * 1_000,
    "30,000 nested lists": b"[" * 30_000 + b"]" * 30_000,
    "30,000 nested objects": b'{"a":' * 10_000,
    "NaN": msgpack.packb({"sensor_id": 1, "pH": float("nan")}) + b"\xc0",
    "JSON NaN": b'{"sensor_id":1,"pH":NaN}',
    "JSON infinity": b'{"sensor_id":1,"pH":1e999,"temp":Infinity}',
    "2^64": json.dumps({"sensor_id": 2**64, "pH": 7}).encode(),
    "long number": b'{"sensor_id":1,"pH":' + b"9" * 60_000 + b"}",
    "a number of a million digits": b'{"sensor_id":1,"pH":' + b"9" * 1_000_000 + b"}",
    "duplicate keys": b'{"sensor_id":1,"sensor_id":2,"pH":7}x',
    "not UTF-8": b'{"sensor_id":"\xff\xfe","pH":7}',
    "16 MiB": b"\0" * (16 * MIB),
    "a batch cut short": encode(a_batch())[:-9],
    "float keys": msgpack.packb({1.5: 2}),
    "timestamp ext": b"\xd7\xff" + struct.pack(">Q", 1),
}

READERS: list[Callable[[bytes], object]] = [
    decode,
    decode_receipt,
    decode_hello,
    decode_health,
    decode_status,
    parse_sensor_message,
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("body", CORPUS.values(), ids=CORPUS)
def test_hostile_bytes_are_refused_within_bounded_memory(
    reader: Callable[[bytes], object], body: bytes
) -> None:
    tracemalloc.start()
    with suppress(PeerError):
        reader(body)
        if reader is not parse_sensor_message:
            pytest.fail("hostile bytes were believed")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB


def test_limits_of_the_corpus_exceed_the_limits_of_the_readers() -> None:
    assert max(map(len, CORPUS.values())) > BATCH_BYTES_MAX > SENSOR_MESSAGE_BYTES_MAX
