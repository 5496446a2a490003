"""What strangers might send, and everything that reads what strangers send."""

import json
import struct
from collections.abc import Callable
from typing import Final

import msgpack
from backports import zstd

from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.sealed import Load, sealed
from wire.codec import decode
from wire.control import decode_health, decode_hello, decode_receipt
from wire.ids import Epoch, HubId, Region, UnixMs
from wire.limits import MIB
from wire.reading import decode_status, parse_sensor_message

_BOMB: Final = zstd.compress(b"\0" * (64 * MIB))
_WIDE_WINDOW: Final = (
    b"\x28\xb5\x2f\xfd\x00\x88" + b"\x00" * 32
)  # a frame that wants a 128 MiB window
_BATCH: Final = sealed(
    Load(1, 1, 1, 1_000, UnixMs(1_760_000_000_000)),
    Water(PROFILES[ProfileName.RIVER], 1),
    (0, HubId("hub-1"), Region("north")),
    Epoch(1),
    1,
)[0]

CORPUS: Final = {
    "nothing": b"",
    "zstd bomb": _BOMB,
    "wide window": _WIDE_WINDOW,
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
    "a batch cut short": _BATCH[:-9],
    "float keys": msgpack.packb({1.5: 2}),
    "timestamp ext": b"\xd7\xff" + struct.pack(">Q", 1),
}

Reader = Callable[[bytes], object]

READERS: Final[list[Reader]] = [
    decode,
    decode_receipt,
    decode_hello,
    decode_health,
    decode_status,
    parse_sensor_message,
]
