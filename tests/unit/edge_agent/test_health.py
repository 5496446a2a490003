"""Health: what the parts say, within what the wire can carry."""

import asyncio
import tomllib
from collections import Counter
from pathlib import Path

import edge_agent
from edge_agent.health import Inside, Reporter
from tests.support import virtual_time
from tests.support.builders import NOON
from tests.support.uplink import at_once
from wire.control import COUNTERS_MAX, Health, decode_health, encode_health
from wire.ids import Epoch


def health_of(outside: dict[str, int], epochs: tuple[tuple[Epoch, int], ...] = ()) -> Health:
    async def main() -> Health:
        clock = virtual_time.VirtualClock(NOON)
        inside = Inside(epochs, True, {"spool_batches": 7})
        report = Reporter(at_once, lambda: inside, (lambda: Counter(outside),), clock)
        await asyncio.sleep(90)
        return await report()

    return virtual_time.run(main())


def test_it_carries_the_lives_of_the_hub_and_what_its_parts_counted() -> None:
    health = health_of({"receipts": 3}, ((Epoch(5), 12),))
    assert health.epochs == ((Epoch(5), 12),)
    assert health.at_ms == NOON + 90_000
    assert health.gauges["up_s"] == 90
    assert (health.gauges["spool_batches"], health.gauges["receipts"]) == (7, 3)


def test_however_much_is_counted_it_fits_the_wire_and_what_matters_comes_first() -> None:
    health = health_of({f"reason_{n}": n for n in range(200)})
    assert len(health.gauges) == COUNTERS_MAX
    assert "spool_batches" in health.gauges
    assert decode_health(encode_health(health)) == health


def test_it_says_the_version_this_distribution_declares() -> None:
    declared = tomllib.loads((Path(edge_agent.__path__[0]).parent / "pyproject.toml").read_text())
    assert health_of({}).version == declared["project"]["version"]
