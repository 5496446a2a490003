"""The whole river in one process: sensors, hubs, broker, ingest, detect and alert, from one seed.

The parts are the product's own; only disk, network, broker and store are twins. A run has faults
first; then they end, and within a bounded time everything must be quiet and every law hold.
"""

import asyncio
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry

from cloud.adapters.mqtt import owned_by
from cloud.alert.service import Alerts
from cloud.alert.stage import Stage as AlertStage
from cloud.core.arrivals import Life
from cloud.core.share import Share
from cloud.detect.service import Detect
from cloud.detect.stage import Stage as DetectStage
from cloud.detect.sweep import Sweep
from cloud.ingest.meters import Meters
from cloud.ingest.service import Ingest
from cloud.ingest.worker import Worker
from tests.support.builders import NOON, NORTH
from tests.support.cloud import STORE
from tests.support.sim_broker import Broker, Line
from tests.support.sim_hub import Kind, SimHub
from tests.support.sim_life import Process, SlowClock, Weather
from tests.support.sim_poison import PoisonedHub
from tests.support.sim_script import FAULTY_S, Script, a_script
from tests.support.sim_sensors import SimSensors
from tests.support.sim_store import RiverStore, RiverTables
from tests.support.virtual_time import VirtualClock, run
from wire import ranges
from wire.control import Receipt, decode_receipt, encode_receipt
from wire.ids import HubId, UnixMs
from wire.topics import Channel, Lane, lane_topic, parse, topic

QUIET_WITHIN_S = 240.0
OTHER_STORE = UUID("00000000-0000-4000-8000-00000000beef")
_INGEST = frozenset({Channel.BATCH, Channel.URGENT, Channel.HELLO})
_DETECT = frozenset({Channel.BATCH, Channel.URGENT})
_METERS = Meters(CollectorRegistry())


class BrokenLawError(AssertionError):
    """The river did what must never be."""


@dataclass(slots=True)
class Hub:
    """A simulated hub, its sensors, and what they were to say."""

    sim: SimHub
    sensors: SimSensors
    script: Script


@dataclass(slots=True)
class River:
    """One world. ``live`` runs it; then everything in it may be looked at."""

    weather: Weather
    folder: Path
    clock: VirtualClock = field(init=False)
    store: RiverStore = field(init=False)
    tables: RiverTables = field(init=False)
    broker: Broker = field(init=False)
    hubs: list[Hub] = field(init=False)
    poisoned: PoisonedHub = field(init=False)
    stages: list[Process] = field(init=False)
    overlap: bool = False
    quiet_s: float = 0.0

    def build(self) -> None:
        """Draw the world from the dice."""
        dice, self.clock = self.weather.dice, VirtualClock(NOON)
        self.store = RiverStore(self.weather, self.clock)
        self.tables = RiverTables(self.store)
        self.broker = Broker(self.weather, self.clock.now_ms)
        contaminated = dice.randrange(2)
        windows = [0, 4_000] if dice.random() < 0.8 else [0, 0]
        self.hubs = [
            self._hub(number, window_ms, breach=number == contaminated)
            for number, window_ms in enumerate(windows)
        ]
        self.poisoned = PoisonedHub(self.weather, self.broker)
        detects, alerts = dice.randint(1, 2), dice.randint(1, 2)
        self.stages = [self._ingest(index) for index in range(2)]
        self.stages += [self._detect(index, detects) for index in range(detects)]
        self.stages += [self._alert(index) for index in range(alerts)]

    def _hub(self, number: int, window_ms: int, *, breach: bool) -> Hub:
        dice, hub_id = self.weather.dice, HubId(f"hub-{number}")
        trusted = dice.random() < 0.5
        age_ms = dice.choice([1_000, 3_000, 5_000])
        kind = Kind(hub_id, NORTH, STORE, window_ms, trusted, age_ms)
        wall = UnixMs(NOON + dice.choice([0, 0, -20_000, 20_000]) if trusted else 0)
        sim = SimHub(kind, self.weather, self.broker, self.folder / hub_id, wall)
        timeless = dice.random() < 0.4
        script = a_script(dice, 1_000 * (number + 1), breach=breach, timeless=timeless)
        return Hub(sim, SimSensors(sim.port, self.weather, script.lines), script)

    def _owns(self, share: Share) -> Callable[[HubId], bool]:
        return lambda hub_id: self.overlap or share.owns(hub_id)

    def _line(self, name: str, share: Share, channels: frozenset[Channel]) -> Line:
        ours = owned_by(self._owns(share))

        def takes(name: str) -> bool:
            levels = name.split("/")
            return len(levels) == 5 and levels[-1] in channels and ours(name)

        return Line(self.broker, name, takes)

    def _ingest(self, index: int) -> Process:
        async def serve() -> None:
            clock = SlowClock(NOON, 50)
            line = self._line(name, Share(index, 2), _INGEST)
            promises = Promises(self, line)
            worker = Worker(
                Ingest(self.store, clock),
                line,
                promises,
                STORE,
                clock,
                _METERS,
                self.weather.dice.random,
            )
            await worker.run()

        name = f"ingest-{index}"
        return Process(name, self.weather, serve)

    def _detect(self, index: int, count: int) -> Process:
        async def serve() -> None:
            share = Share(index, count)
            line, clock = self._line(name, share, _DETECT), SlowClock(NOON, 1_000)
            detect = Detect(self.tables, line, clock, self._owns(share))
            stage = DetectStage(detect, Sweep(detect, self.tables), clock)
            await detect.refresh()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.tick(), name="tick")
                tasks.create_task(stage.read(line), name="read")

        name = f"detect-{index}"
        return Process(name, self.weather, serve)

    def _alert(self, index: int) -> Process:
        async def serve() -> None:
            line = Line(self.broker, name, lane_topic(Lane.HIGH).__eq__)
            stage = AlertStage(Alerts(self.tables, self.clock), self.clock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stage.settle(), name="settle")
                tasks.create_task(stage.listen(line), name="listen")

        name = f"alert-{index}"
        return Process(name, self.weather, serve)

    async def live(self) -> None:
        """Run until quiet.

        Raises:
            BrokenLawError: A promise was made too early, or it never became quiet.
        """
        self.build()
        try:
            async with asyncio.TaskGroup() as tasks:
                for process in self._processes():
                    tasks.create_task(process.run(), name=process.name)
                speaking = []
                for hub in self.hubs:
                    speaking.append(tasks.create_task(hub.sensors.speak(), name="speak"))
                    speaking.append(tasks.create_task(hub.sensors.converse(), name="converse"))
                await self._trouble()
                await self._until_quiet()
                for process in self._processes():
                    process.end()
                for task in speaking:
                    task.cancel()
        except BaseExceptionGroup as broken:
            raise _first(broken) from broken

    def _processes(self) -> list[Process]:
        return [*(hub.sim.process for hub in self.hubs), self.poisoned.process, *self.stages]

    async def _trouble(self) -> None:
        """Strike here and there until the faults end."""
        dice, loop = self.weather.dice, asyncio.get_running_loop()
        kinds = [self._kill, self._kill, self._cut, self._mislead, self._share, self._step_clock]
        often_s = dice.choice([0.7, 1.5, 4.0])
        while loop.time() < FAULTY_S:
            await asyncio.sleep(2 * often_s * dice.random())
            dice.choice([*kinds, self._amnesia] if dice.random() < 0.5 else kinds)()
        self.overlap = False
        self.weather.clear_up()
        for process in self._processes():
            process.spare()

    def _kill(self) -> None:
        self.weather.dice.choice(self._processes()).kill()

    def _cut(self) -> None:
        hub, away_s = self.weather.dice.choice(self.hubs), 4 * self.weather.dice.random()
        if self.weather.dice.random() < 0.3:
            hub.sim.port.cut()
        else:
            hub.sim.uplink.cut(away_s)

    def _amnesia(self) -> None:
        self.broker.forget(2 * self.weather.dice.random())

    def _share(self) -> None:
        self.overlap = not self.overlap

    def _step_clock(self) -> None:
        clock = self.weather.dice.choice(self.hubs).sim.clock
        clock.wall_offset_ms += self.weather.dice.choice([-5_000, 5_000])

    def _mislead(self) -> None:
        """Let a store that is not ours promise everything."""
        sim = self.weather.dice.choice(self.hubs).sim
        if sim.epochs:
            epoch = self.weather.dice.choice(sim.epochs)
            lie = Receipt(OTHER_STORE, epoch, ((0, 1_000),), (), NOON)
            name = topic(NORTH, sim.kind.hub_id, Channel.RECEIPT)
            self.broker.publish(name, encode_receipt(lie))

    async def _until_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while why := self._unrest():
            if loop.time() - began_s > QUIET_WITHIN_S:
                raise BrokenLawError(f"not quiet after {QUIET_WITHIN_S} s: {why}")
            await asyncio.sleep(1.0)
        self.quiet_s = loop.time() - began_s

    def _unrest(self) -> str | None:
        """Return what is still to come, None if nothing is."""
        for hub in self.hubs:
            if not hub.sensors.quiet:
                return f"sensors of {hub.sim.kind.hub_id} wait for a status"
            if not hub.sim.empty:
                return f"spool of {hub.sim.kind.hub_id} is not empty"
        if not self.poisoned.quiet:
            return "the poisoned hub still waits"
        if due := self.tables.due_now():
            return f"not evaluated: {due}"
        if unsettled := self.tables.findings.keys() - self.tables.settled:
            return f"{len(unsettled)} findings not settled"
        return None


@dataclass(slots=True)
class Promises:
    """An ingest worker's ``Lanes``: every receipt is held against the store when it is given."""

    river: River
    line: Line

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See ``Lanes``."""
        for name, body in messages:
            hub_id, receipt = parse(name).hub_id, decode_receipt(body)
            entry = self.river.store.tables.ledger.get(Life(hub_id, receipt.epoch))
            received = entry.received if entry else ()
            if early := ranges.minus(receipt.received, received):
                raise BrokenLawError(f"{hub_id} was promised {early}, which is not committed")
        await self.line.publish(messages)

    async def send(self, lane: Lane, body: bytes) -> None:
        """See ``Lanes``."""
        await self.line.send(lane, body)


def _first(broken: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves: list[BaseException] = [broken]
    while isinstance(leaves[0], BaseExceptionGroup):
        leaves = list(leaves[0].exceptions)
    return leaves[0]


def a_river(weather: Weather) -> River:
    """Return the world of this weather's seed after it became quiet.

    Raises:
        BrokenLawError: It never did, or a promise was made too early.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, _silence():
        river = River(weather, Path(folder))
        run(river.live())
    return river


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the parts from logging: the trace says what happened, in virtual time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
