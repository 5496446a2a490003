"""A hub in the simulated river: the real agent's parts, put together as ``edge_agent.run`` does."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from edge_agent.adapters.spool import SpoolSettings, SqliteSpool
from edge_agent.collect import Collector, CollectSettings
from edge_agent.core.clock import Now
from edge_agent.core.outbox import Outbox
from edge_agent.forward import Forward
from edge_agent.ports import Accept
from edge_agent.receive import Receive
from tests.support.sim_broker import Broker, HubUplink
from tests.support.sim_disk import Disk, a_disk
from tests.support.sim_life import LIFE, Life, Process, Weather, step
from tests.support.uplink import at_once
from tests.support.virtual_time import VirtualClock
from water.bands import bands
from water.screening import plausible
from wire.control import Health
from wire.ids import Epoch, HubId, Region, SensorId, UnixMs
from wire.limits import MIB
from wire.reading import decode_status
from wire.topics import sensor_data

_HEALTHY, _PROBE = bands(), plausible()


@dataclass(slots=True)
class Port:
    """Where a hub's sensors connect: open while its agent lives. Statuses may get lost.

    Attributes:
        accepted: Dated readings this life of the agent took, by sensor.
        announced: Every (sensor, time) a hub ever took and then said it had committed.
    """

    weather: Weather
    session: int = 0
    accepted: dict[int, list[int]] = field(default_factory=dict)
    announced: set[tuple[int, int]] = field(default_factory=set)
    statuses: list[tuple[int, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _accept: Accept | None = None
    _life: Life | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody listens."""
        return self._accept is not None and not (self._life is not None and self._life.dead)

    async def run(self, accept: Accept) -> None:
        """See ``SensorSide``."""
        step()
        self._accept, self._life, self.accepted = accept, LIFE.get(), {}
        self.cut()
        try:
            await asyncio.Event().wait()
        finally:
            self._accept = None
            self.cut()

    async def tell(self, statuses: Iterable[tuple[SensorId, bytes]]) -> None:
        """See ``SensorSide``."""
        for sensor_id, body in statuses:
            step()
            through_ms = decode_status(body).committed_through_ms
            for at_ms in self.accepted.get(sensor_id, ()):
                if at_ms <= through_ms:
                    self.announced.add((sensor_id, at_ms))
            if not self.weather.strikes(self.weather.faults.lose):
                self.statuses.append((sensor_id, through_ms))
                self.changed.set()

    async def bring(self, sensor_id: int, times_ms: Sequence[int], body: bytes) -> None:
        """Carry a sensor's message, of readings of these times, to the agent."""
        assert self._accept is not None
        self.accepted.setdefault(sensor_id, []).extend(times_ms)
        await self._accept(sensor_data(SensorId(sensor_id)), body)

    def cut(self) -> None:
        """Break all sensors' connections."""
        self.session += 1
        self.changed.set()


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of hub it is."""

    hub_id: HubId
    region: Region
    store_id: UUID
    window_ms: int
    clock_trusted: bool
    commit_age_ms: int


class SimHub:
    """The hub, over all its lives."""

    def __init__(
        self, kind: Kind, weather: Weather, broker: Broker, folder: Path, now: UnixMs
    ) -> None:
        self.kind, self.weather, self.folder = kind, weather, folder
        self.disk: Disk = a_disk(weather, kind.hub_id)
        self.port = Port(weather)
        self.uplink = HubUplink(broker, kind.region, kind.hub_id)
        self.clock = VirtualClock(now)
        self.epochs: list[Epoch] = []
        self.process = Process(kind.hub_id, weather, self._live)

    @property
    def empty(self) -> bool:
        """Whether nothing waits for anything here."""
        return self.disk.empty

    def _now(self) -> Now:
        return Now(self.clock.now_ms(), self.clock.steady_ms())

    async def _live(self) -> None:
        """One life of the agent."""
        kind, weather = self.kind, self.weather
        if weather.strikes(weather.faults.disk * 10):
            self.disk.rot()
        spool = SqliteSpool(
            SpoolSettings(self.folder, kind.hub_id, kind.region, 64 * MIB),
            self._draw,
            connect=lambda _: self.disk,
            free_bytes=lambda _: 2**40,
        )
        try:
            settings = CollectSettings(
                boot="boot-1",
                window_ms=kind.window_ms,
                clock_trusted=kind.clock_trusted,
                commit_age_ms_max=kind.commit_age_ms,
            )
            collector = Collector(spool, settings, _HEALTHY, _PROBE, self._now())
            forward = self._forward(spool, collector)
            receive = Receive(collector, at_once, self.port, forward.wake, self.clock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(receive.run(), name="receive")
                tasks.create_task(forward.run(), name="forward")
        finally:
            spool.close()

    def _draw(self, bits: int) -> int:
        epoch = self.weather.dice.getrandbits(bits)
        self.epochs.append(Epoch(epoch))
        self.weather.note(f"{self.kind.hub_id} begins life {epoch % 10_000}")
        return epoch

    def _forward(self, spool: SqliteSpool, collector: Collector) -> Forward:
        async def report() -> Health:
            step()
            epochs = tuple((held.epoch, held.next_sequence) for held in spool.held())
            return Health(True, "sim", epochs, self.kind.clock_trusted, self.clock.now_ms())

        return Forward(
            store=spool,
            in_turn=at_once,
            uplink=self.uplink,
            outbox=Outbox(spool.epoch),
            store_id=self.kind.store_id,
            report=report,
            heard_time=lambda cloud_ms: collector.hear(cloud_ms, self._now()),
            clock=self.clock,
            chance=self.weather.dice.random,
        )
