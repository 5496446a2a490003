"""A batch that kills ingest outright, at a real RabbitMQ: it ends, and no neighbour knows."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cloud.ingest.sift import TRIES
from cloud.ingest.suspects import WHY
from gateway.cluster.topology import LENT_MAX
from tests.integration.test_cluster_river import connected_hub
from tests.support.builders import EPOCH, HUB, a_batch
from tests.support.cloud_tables import read_tables
from tests.support.doomed_ingest import LETHAL
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire import ranges
from wire.clock import SystemClock

NOW = SystemClock().now_ms()
BATCHES = 24
GUILTY = 7


class Ward:
    """Keeps a stage running as its supervisor would, and counts how often it died."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.deaths = 0

    def look(self) -> None:
        """Start the stage if it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._process is not None:
            assert self._process.returncode == -9, "it died of something else"
            self.deaths += 1
        command = [sys.executable, "-m", "tests.support.doomed_ingest", "ingest"]
        self._process = subprocess.Popen(command, env=self._environment)

    def end(self) -> None:
        """Stop the stage."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(20) in (0, -9, -15)


@contextmanager
def doomed(rabbit: Rabbits, url: str) -> Iterator[Ward]:
    rabbit.authority.issue("ingest")
    ward = Ward(
        {
            **os.environ,
            "HEADGATE_DATABASE_URL": url,
            "HEADGATE_BROKER_URL": f"amqps://localhost:{rabbit.nodes[0].amqps}",
            "HEADGATE_BROKER_TLS": str(rabbit.authority.home("ingest")),
        }
    )
    try:
        yield ward
    finally:
        ward.end()


@pytest.mark.spec("Q3")
async def test_a_batch_that_kills_ingest_is_refused_alone_and_its_neighbours_are_stored(
    rabbit: Rabbits, database_url: str
) -> None:
    sent = [
        a_batch(n, sensors=[LETHAL if n == GUILTY else n], times=[NOW - 60_000 + n])
        for n in range(BATCHES)
    ]
    async with connected_hub(rabbit) as hub:
        await hub.send(*sent)
        with doomed(rabbit, database_url) as ward:

            def settled() -> bool:
                ward.look()
                return hub.received == ((0, BATCHES),)

            await until(settled, within_s=120, poll_s=0.2)
            assert ward.deaths == LENT_MAX + TRIES, "with its neighbours, then three times alone"
    tables = await read_tables(database_url)
    ((life, entry),) = tables.ledger.items()
    assert life == (HUB, EPOCH)
    assert entry.received == ((0, BATCHES),)
    assert entry.refused == ranges.from_numbers([GUILTY])
    assert len(tables.readings) == BATCHES - 1
    ((name, letter),) = tables.dead.items()
    assert (letter.reason, tables.attempts[name]) == (WHY, TRIES)
