"""Scores from a hub's sensors to the batches that leave its spool, and what they cost in memory."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edge_agent.adapters.spool import SpoolSettings, SqliteSpool
from edge_agent.collect import Collector, CollectSettings
from edge_agent.health import ScoringFault
from edge_agent.ports import Change, SpoolFullError
from tests.support.agent import Agent, FakeCloud, Probes, cloud, healths, killed_at_the_end
from tests.support.gateway import gateway
from tests.support.hub import HUB, at, contents, message, spool_at
from tests.support.postgres import free_port
from tests.support.wait import until
from water.bands import bands
from water.model import load, shipped
from water.screening import plausible
from wire import codec
from wire.batch import Batch, Kind
from wire.clock import SystemClock
from wire.control import Health
from wire.ids import BatchKey, Region
from wire.limits import MIB
from wire.topics import Channel

pytestmark = pytest.mark.spec("I11", "D6", "K3")

MODEL = load(shipped())
WARM = MODEL.told.warm_readings
PEAK_BYTES_MAX = 96 * MIB
SENSORS = range(1, 6)


@dataclass(eq=False)
class ScoresKept(FakeCloud):
    """A cloud that also keeps what routine rows score, by sensor and instant."""

    scores: dict[tuple[int, int], float] = field(default_factory=dict)

    def _store(self, body: bytes) -> None:
        super()._store(body)
        batch = codec.decode(body)
        if isinstance(batch, Batch) and batch.seal.kind is Kind.ROUTINE:
            keys = zip(batch.sensor_ids.tolist(), batch.observed_at_ms.tolist(), strict=True)
            self.scores |= dict(zip(keys, batch.score.tolist(), strict=True))


@pytest.mark.parametrize("window_ms", [0, 10_000])
def test_rows_of_warm_sensors_leave_the_spool_with_a_score_and_evidence_without(
    tmp_path: Path, window_ms: int
) -> None:
    spool = spool_at(tmp_path)
    told = CollectSettings("boot-1", window_ms=window_ms)
    collector = Collector(spool, told, bands(), plausible(), at(0), MODEL)
    turns, step_ms = WARM + 20, max(1_000, window_ms)
    for turn in range(turns):
        ph = 9.5 if turn == turns - 10 else 7 + turn % 3 / 100
        readings = [(sensor, turn * step_ms, ph) for sensor in SENSORS]
        collector.absorb(message(readings), at(turn * step_ms))
        collector.commit(at(turn * step_ms))
    collector.commit(at((turns + 3) * step_ms))
    collector.commit(at((turns + 6) * step_ms))
    routine = [b for b in contents(spool) if isinstance(b, Batch) and b.seal.kind is Kind.ROUTINE]
    evidence = [b for b in contents(spool) if isinstance(b, Batch) and b.seal.kind is Kind.EVIDENCE]
    scores = np.concatenate([batch.score for batch in routine])
    whose = np.concatenate([batch.sensor_ids for batch in routine])
    for sensor in SENSORS:
        finite = np.isfinite(scores[whose == sensor])
        assert finite.tolist() == [False] * WARM + [True] * 20
    assert collector.counts["rows_scored"] == 20 * len(SENSORS)
    assert evidence
    assert all(np.isnan(batch.score).all() for batch in evidence)
    spool.close()


class FullNowAndThen(SqliteSpool):
    """A spool without room for every other commit."""

    tries = 0

    def apply(self, change: Change, steady_ms: int) -> Sequence[BatchKey]:
        self.tries += 1
        if self.tries % 2:
            raise SpoolFullError("no room")
        return super().apply(change, steady_ms)


def test_a_commit_that_had_to_be_repeated_scores_as_if_it_had_not(tmp_path: Path) -> None:
    told = SpoolSettings(tmp_path, HUB, Region("north"), 64 * MIB, None)
    spool = FullNowAndThen(told, random.Random(1).getrandbits)
    collector = Collector(
        spool, CollectSettings("boot-1", window_ms=0), bands(), plausible(), at(0), MODEL
    )
    for turn in range(WARM + 5):
        collector.absorb(message([(7, turn * 1_000, 7 + turn % 3 / 100)]), at(turn * 1_000))
        with pytest.raises(SpoolFullError):
            collector.commit(at(turn * 1_000))
        collector.commit(at(turn * 1_000))
    collector.absorb(message([(7, 900_000, 7.0)]), at(900_000))
    with pytest.raises(SpoolFullError):
        collector.commit(at(900_000))
    collector.commit(at(900_000))
    routine = [b for b in contents(spool) if isinstance(b, Batch) and b.seal.kind is Kind.ROUTINE]
    finite = np.isfinite(np.concatenate([batch.score for batch in routine]))
    assert finite.tolist() == [False] * WARM + [True] * (len(finite) - WARM)
    assert len(finite) > WARM
    spool.close()


async def test_a_real_agent_scores_and_stays_small(tmp_path: Path) -> None:
    with gateway(tmp_path) as broker:
        agent = Agent.told(broker, free_port(), window_s=0)
        start_ms = SystemClock().now_ms() - 3_600_000
        probes = Probes(agent.port, SENSORS, start_ms)
        said: list[tuple[Channel, Health]] = []
        store = ScoresKept()
        async with cloud(broker, store):
            with killed_at_the_end(agent):
                agent.start()
                async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
                    hearing = tasks.create_task(healths(broker, said))
                    await probes.run(WARM + 10)
                    await until(
                        lambda: len(store.scores) == len(SENSORS) * (WARM + 10), within_s=30
                    )
                    await until(
                        lambda: any(health.gauges.get("rows_scored") for _, health in said),
                        within_s=70,
                    )
                    hearing.cancel()
                peak_bytes = _peak_bytes(agent)
                assert agent.stop() == 0
    assert peak_bytes <= PEAK_BYTES_MAX, f"peak {peak_bytes / MIB:.1f} MiB"
    latest = [health.gauges for _, health in said if health.gauges.get("rows_scored")][-1]
    assert latest["scoring_fault"] == ScoringFault.NONE
    assert latest["rows_scored"] == len(SENSORS) * 10
    judged = {key for key, score in store.scores.items() if np.isfinite(score)}
    warm_from_ms = start_ms + 1_000 * WARM
    assert judged == {(one, at_ms) for one, at_ms in store.scores if at_ms >= warm_from_ms}


def _peak_bytes(agent: Agent) -> int:
    assert agent.process is not None
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1_024
