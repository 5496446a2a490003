"""Golden bytes: every version ever shipped can be read for ever, and today's is written exactly.

A file is never changed. A new version adds files beside the old ones.
"""

import re
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from tests.support.builders import EPOCH, NOON, a_batch, a_seal, a_tombstone
from wire.batch import Batch, Flag, Kind, Tombstone
from wire.codec import decode, encode
from wire.control import (
    Health,
    Held,
    Hello,
    Receipt,
    decode_health,
    decode_hello,
    decode_receipt,
    encode_health,
    encode_hello,
    encode_receipt,
)
from wire.ids import UnixMs
from wire.metric import METRICS

GOLDEN = Path(__file__).parents[2] / "golden" / "wire"

STORE = UUID("00000000-0000-4000-8000-000000000001")


def every_column() -> Batch:
    """Return a batch that uses every column, every metric, gaps included."""
    values = np.arange(3 * METRICS, dtype=np.float32).reshape(3, METRICS) / 16
    values[1, ::2] = np.nan
    seal = a_seal(
        7, kind=Kind.EVIDENCE, flags=Flag.THINNED | Flag.BACKFILL, floor_ms=1, rows_lost=4
    )
    return Batch(
        seal,
        np.array([5, 5, 2**63 - 1]),
        np.array([NOON, NOON + 1_000, NOON]),
        values,
        np.array([0, 1, 2**15 - 1], np.int16),
        np.array([np.nan, 0, 1], np.float32),
        np.array([1, 10, 2**31 - 1], np.int32),
    )


BATCHES: dict[str, Batch | Tombstone] = {
    "v1-one-reading": a_batch(),
    "v1-every-column": every_column(),
    "v1-tombstone": a_tombstone(),
}


@pytest.mark.parametrize("name", BATCHES)
def test_batches_are_written_as_ever_and_read_as_ever(name: str) -> None:
    shipped = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    assert encode(BATCHES[name]) == shipped
    assert encode(decode(shipped)) == shipped


def test_control_messages_are_written_as_ever_and_read_as_ever() -> None:
    receipt = Receipt(STORE, EPOCH, ((0, 7), (9, 10)), ((9, 10),), NOON)
    hello = Hello((Held(EPOCH, 12, ((7, 9), (10, 12))),))
    health = Health(True, "0.1.0", ((EPOCH, 12),), True, UnixMs(NOON), {"spool_batches": 4})
    written = {
        "v1-receipt": (encode_receipt(receipt), decode_receipt, receipt),
        "v1-hello": (encode_hello(hello), decode_hello, hello),
        "v1-health": (encode_health(health), decode_health, health),
    }
    for name, (body, decode_it, said) in written.items():
        shipped = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
        assert body == shipped
        assert decode_it(shipped) == said


def test_the_page_about_the_wire_shows_the_shipped_bytes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
    shown = page.partition("is 86 bytes:\n\n```\n")[2].partition("```")[0]
    byte = re.compile(r"(?<=\s)[0-9a-f]{2}(?=\s)")
    hexes = [byte.findall(f" {line[:38]} ") for line in shown.splitlines()]
    shipped = (GOLDEN / "v1-one-reading.hex").read_text().split()
    assert [pair for line in hexes for pair in line] == shipped
