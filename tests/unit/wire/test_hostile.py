"""Hostile bytes cost bounded memory: no decoder allocates on a stranger's word."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from benchmarks.hostile import CORPUS, READERS
from wire.errors import PeerError
from wire.limits import BATCH_BYTES_MAX, MIB, SENSOR_MESSAGE_BYTES_MAX
from wire.reading import parse_sensor_message


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
