"""What does a reading cost on the wire, and how long do its bytes take to make and to read?"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgpack
import numpy as np

from benchmarks.hostile import CORPUS, READERS, Reader
from benchmarks.report import Figure, Report, arguments
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.sealed import Load, sealed
from wire.batch import Batch
from wire.codec import decode, encode
from wire.errors import PeerError
from wire.ids import Epoch, HubId, Region
from wire.metric import COLUMNS

_START_MS = 1_760_000_000_000
_BATCHES = 30
_METRICS = 4


def bodies(profile: ProfileName, ticks: int) -> list[bytes]:
    """Return batches of ``ticks`` seconds of 200 sensors with four metrics."""
    load = Load(200, 200 * ticks, _METRICS, 1_000, _START_MS)
    hub = (0, HubId("hub-1"), Region("north"))
    return sealed(load, Water(PROFILES[profile], 1), hub, Epoch(2**62), _BATCHES)


def size(profile: ProfileName, ticks: int) -> float:
    """Return bytes a reading."""
    made = bodies(profile, ticks)
    return sum(map(len, made)) / len(made) / (200 * ticks)


def rows(batch: Batch) -> list[dict[str, object]]:
    """Return the same readings as the objects others would send."""
    return [
        {"sensor_id": int(sensor), "timestamp": int(at)}
        | {COLUMNS[m]: round(float(v), 3) for m, v in enumerate(values) if v == v}
        for sensor, at, values in zip(
            batch.sensor_ids, batch.observed_at_ms, batch.values, strict=True
        )
    ]


def best_us(act: Callable[[], object], times: int = 200) -> float:
    """Return the least time of one call in microseconds: what the machine can do."""
    least = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        act()
        least = min(least, time.perf_counter() - start)
    return least * 1e6


def hostile_ms(readers: Sequence[Reader] = READERS) -> dict[str, float]:
    """Return how long each hostile input keeps the reader that takes longest over it."""
    return {
        name: round(max(_refusal_ms(reader, body) for reader in readers), 3)
        for name, body in CORPUS.items()
    }


def _refusal_ms(reader: Reader, body: bytes) -> float:
    start = time.perf_counter()
    with suppress(PeerError):
        reader(body)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    """Measure and report."""
    options = arguments("wire", __doc__ or "")
    sizes = {
        f"{profile} {ticks} s": size(profile, ticks) for profile in ProfileName for ticks in (1, 5)
    }
    body = bodies(ProfileName.RIVER, 5)[3]
    batch = decode(body)
    assert isinstance(batch, Batch)
    n = len(batch)
    report = Report("wire")
    for ticks, target in ((1, 10.0), (5, 5.5)):
        worst = max(sizes[f"{profile} {ticks} s"] for profile in ProfileName)
        name = f"bytes a reading, 200 sensors, 4 metrics, {ticks} s batches"
        report.figures.append(Figure(name, target, worst, "<="))
    report.raw = {
        "bytes_per_reading": {name: round(value, 2) for name, value in sizes.items()},
        "json_bytes_per_reading": round(len(json.dumps(rows(batch))) / n, 1),
        "msgpack_bytes_per_reading": round(len(msgpack.packb(rows(batch))) / n, 1),
        "encode_ns_per_reading": round(best_us(lambda: encode(batch)) * 1e3 / n),
        "decode_ns_per_reading": round(best_us(lambda: decode(body)) * 1e3 / n),
        "hostile_ms": hostile_ms(),
        "rows": int(np.int64(n)),
    }
    return report.show(as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
