"""The composition root: settings become real sensors at real brokers."""

import asyncio
import gzip
import itertools
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from firmware_sim.adapters.ledger_file import LedgerFile
from firmware_sim.adapters.mqtt import MqttBroker
from firmware_sim.adapters.postgres import connected
from firmware_sim.core.events import Agenda, Calendar, Event, contaminations, faults, plan
from firmware_sim.core.message import READINGS_PER_MESSAGE_MAX
from firmware_sim.core.noise import uniform
from firmware_sim.core.pace import Pace, ScaledClock
from firmware_sim.core.pending import ResendPolicy
from firmware_sim.core.physics import Water
from firmware_sim.core.profiles import PROFILES, ProfileName
from firmware_sim.core.record import Count, blocks, parse_map
from firmware_sim.core.sealed import Load, sealed
from firmware_sim.fleet.fleet import Crew, Fleet
from firmware_sim.flood.batches import VirtualHub, publish_all
from firmware_sim.oracle.oracle import judge
from firmware_sim.replay.replay import replay
from firmware_sim.sensor import EVERY_STATUS, Connection, Tally
from firmware_sim.settings import (
    BatchesCommand,
    FleetCommand,
    FloodCommand,
    OracleCommand,
    ReplayCommand,
    UnusableSettingError,
    address,
)
from wire.clock import Clock, SystemClock
from wire.ids import Epoch, HubId, Region, SensorId
from wire.limits import EPOCH_BITS
from wire.metric import Metric
from wire.topics import sensor_status

Sensing = FleetCommand | FloodCommand

_FORGETFUL_CHANNEL: Final = 7_000
_WARM_UP_MS: Final = 3_000
_PROBED_MS: Final = 300_000  # that a probe is stuck shows only once it was long seen to move


async def fleet(settings: Sensing) -> None:
    """Run a fleet (or, at high speed, a flood) to its end or to SIGTERM; then drain.

    Progress and the readings each event touched are printed as JSON lines.
    """
    clock, stop = SystemClock(), _stop_on_signal()
    ledger = LedgerFile(settings.ledger)
    crew = _crew(settings)
    connections = [
        _connection(settings, crew, index, clock, ledger)
        for index in range(len(settings.broker) * settings.connections)
    ]
    now_ms = clock.now_ms()
    lasts_ms = int(settings.seconds * settings.speed * 1_000)
    # Observed time ends at the present however fast it runs: nothing lies in the future.
    scaled = ScaledClock(now_ms, now_ms - lasts_ms + int(settings.seconds * 1_000), settings.speed)
    start_ms = scaled.observed_start_ms
    pace = Pace(
        crew.sensor_ids, start_ms, start_ms + lasts_ms, round(1_000 / settings.rate), settings.seed
    )
    water = Water(PROFILES[ProfileName(settings.profile)], settings.seed)
    agenda = _agenda(settings, crew, start_ms, start_ms + lasts_ms)
    async with asyncio.TaskGroup() as group:
        talking = [
            group.create_task(connection.run(), name=f"connection-{index}")
            for index, connection in enumerate(connections)
        ]
        watching = group.create_task(
            _progress(settings.progress_every_s, connections, clock), name="progress"
        )
        await Fleet(crew, connections, clock, scaled, pace, water).run(agenda, ledger, show, stop)
        await _drain(connections, settings.drain_s)
        _hang_up(connections, [*talking, watching])
    show({"done": _totals(connections)})
    ledger.close()


async def batches(settings: BatchesCommand) -> None:
    """Seal, then publish, then report in one JSON line; CPU is counted from the first publish."""
    clock = SystemClock()
    hubs = _virtual_hubs(settings, clock)
    bytes_sent = sum(len(body) for hub in hubs for body in hub.bodies)
    cpu_before_s = time.process_time()
    within_s = settings.drain_s if settings.await_receipts else 0.0
    progress = await publish_all(hubs, clock, settings.batches_per_s, within_s)
    seconds = max(progress.published_ms, 1) / 1_000
    show(
        {
            "published": progress.published,
            "readings": progress.published * settings.rows,
            "seconds": seconds,
            "rate": progress.published * settings.rows / seconds,
            "cpu_s": time.process_time() - cpu_before_s,
            "bytes": bytes_sent,
            "bytes_per_reading": bytes_sent / (settings.batches * settings.rows),
            "receipted": progress.receipted,
            "receipted_seconds": progress.receipted_ms / 1_000,
        }
    )


def _virtual_hubs(settings: BatchesCommand, clock: Clock) -> list[VirtualHub]:
    seconds = settings.rows // settings.sensors * -(-settings.batches // settings.hubs)
    try:
        load = Load(
            settings.sensors,
            settings.rows,
            settings.metrics,
            settings.first_sensor_id,
            start_ms=clock.now_ms() - seconds * 1_000,
        )
    except ValueError as exc:
        raise UnusableSettingError(f"--rows, --sensors: {exc}") from exc
    water = Water(PROFILES[ProfileName.DRINKING], settings.seed)
    name = address(settings.broker).name or "flood"
    hubs: list[VirtualHub] = []
    for number in range(settings.hubs):
        hub_id, region = HubId(name if settings.hubs == 1 else f"{name}-{number}"), settings.region
        token = settings.token_file and Path(settings.token_file.replace("{hub}", hub_id))
        way_in = replace(address(settings.broker, token or None), name=hub_id)
        epoch = Epoch(secrets.randbits(EPOCH_BITS))  # never one that any hub ever used
        share = len(range(number, settings.batches, settings.hubs))
        bodies = sealed(load, water, (number, hub_id, Region(region)), epoch, share)
        broker = MqttBroker(way_in, hub_id)
        hubs.append(VirtualHub(hub_id, Region(region), epoch, broker, bodies))
    return hubs


async def replay_file(settings: ReplayCommand) -> None:
    """Send a recorded file through a hub, to its end or to SIGTERM; then drain."""
    clock, stop = SystemClock(), _stop_on_signal()
    record_map, count = parse_map(_map_text(settings.map)), Count()
    if not settings.file.is_file():
        raise UnusableSettingError(f"{settings.file}: no such file")
    ledger = LedgerFile(settings.ledger)
    connection = Connection(
        MqttBroker(address(settings.broker), f"replay-{settings.first_sensor_id}"),
        clock,
        ledger,
        ResendPolicy(after_ms=15_000),
        per_message=READINGS_PER_MESSAGE_MAX,
    )
    speed = None if settings.speed == "max" else settings.speed
    opened = gzip.open if settings.file.suffix == ".gz" else open
    with opened(settings.file, "rt", newline="") as lines:
        async with asyncio.TaskGroup() as group:
            talking = group.create_task(connection.run(), name="connection")
            watching = group.create_task(
                _progress(settings.progress_every_s, [connection], clock), name="progress"
            )
            made = blocks(lines, record_map, settings.first_sensor_id, count)
            await replay(made, connection, clock, speed, stop)
            ledger.note({"file": settings.file.name, "map": record_map.title, **count.as_json()})
            await _drain([connection], settings.drain_s)
            _hang_up([connection], [talking, watching])
    show({"done": {**_totals([connection]), **count.as_json()}})
    ledger.close()


async def oracle(settings: OracleCommand) -> None:
    """Print the oracle's judgement."""
    if not settings.ledger.is_file():
        raise UnusableSettingError(f"{settings.ledger}: no such ledger; a fleet writes one")
    async with connected(settings.database) as store:
        judgement = await judge(settings.ledger, store, int(settings.window_s * 1_000))
    if settings.json_line:
        show(judgement.as_json())
        return
    for name, value in judgement.as_json().items():
        sys.stdout.write(f"{name:20} {value}\n")


def show(fields: dict[str, object]) -> None:
    """Print one JSON line for a program; at a terminal, progress is one line that changes."""
    line = json.dumps(fields) + "\n"
    if sys.stdout.isatty():
        progress = fields.get("progress")
        line = "\r\x1b[K" + (_counts(progress) if isinstance(progress, dict) else line)
    sys.stdout.write(line)
    sys.stdout.flush()


def _counts(progress: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in progress.items() if count)


def _map_text(name: str) -> str:
    """Return a map given as a path, or as the name of one that ships with us."""
    if Path(name).is_file():
        return Path(name).read_text()
    shipped = files("firmware_sim") / "maps" / f"{Path(name).stem}.toml"
    if not shipped.is_file():
        raise UnusableSettingError(f"{name}: no such map; try gecco2017 or logan_river")
    return shipped.read_text()


def _crew(settings: Sensing) -> Crew:
    total = settings.sensors * len(settings.broker)
    sensor_ids = settings.first_sensor_id + np.arange(total, dtype=np.int64)
    hub = np.arange(total) // settings.sensors
    return Crew(
        sensor_ids,
        hub.astype(np.int16),
        connection=hub * settings.connections + np.arange(total) % settings.connections,
        kept=uniform(settings.seed, sensor_ids, _FORGETFUL_CHANNEL) >= settings.forgetful,
    )


def _connection(
    settings: Sensing, crew: Crew, index: int, clock: Clock, ledger: LedgerFile
) -> Connection:
    filters: tuple[str, ...] = (EVERY_STATUS,)
    if settings.connections > 1:
        own = crew.sensor_ids[crew.connection == index].tolist()
        filters = tuple(sensor_status(SensorId(sensor_id)) for sensor_id in own)
    hub = address(settings.broker[index // settings.connections])
    return Connection(
        MqttBroker(hub, f"sensors-{settings.first_sensor_id}-{index}"),
        clock,
        ledger,
        ResendPolicy(),
        per_message=settings.per_message,
        filters=filters,
    )


def _agenda(settings: Sensing, crew: Crew, start_ms: int, end_ms: int) -> Agenda:
    """Contaminate sensors that keep what they measure; give faults to others, if both happen."""
    metrics = {*PROFILES[ProfileName(settings.profile)].spreads, Metric.DISSOLVED_OXYGEN}
    keeping: list[int] = crew.sensor_ids[crew.kept].tolist()
    both = settings.contaminate_every_s > 0 and settings.fault_every_s > 0
    wet, broken = (keeping[::2], keeping[1::2]) if both else (keeping, keeping)
    numbers = itertools.count()
    plans: list[Iterator[Event]] = []
    for every_s, warm_up_ms, causes, sensors in (
        (settings.contaminate_every_s, _WARM_UP_MS, contaminations(metrics), wet),
        (settings.fault_every_s, _PROBED_MS, faults(metrics), broken),
    ):
        if every_s > 0:
            lasts_ms = int(settings.contamination_s * 1_000)
            calendar = Calendar(start_ms + warm_up_ms, end_ms, int(every_s * 1_000), lasts_ms)
            plans.append(plan(calendar, causes, sensors, settings.seed, numbers))
    return Agenda(*plans)


async def _drain(connections: list[Connection], within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
            for index, connection in enumerate(connections):
                group.create_task(connection.drained(), name=f"drain-{index}")
    except TimeoutError:
        return


def _hang_up(connections: list[Connection], tasks: list[asyncio.Task[None]]) -> None:
    for connection in connections:
        connection.end()
    for task in tasks:
        task.cancel()


async def _progress(every_s: float, connections: list[Connection], clock: Clock) -> None:
    while True:
        await clock.sleep_ms(int(every_s * 1_000))
        show({"progress": _totals(connections)})


def _totals(connections: list[Connection]) -> dict[str, int]:
    tallies = [asdict(connection.tally) for connection in connections]
    totals = {name: sum(tally[name] for tally in tallies) for name in asdict(Tally())}
    return {**totals, "pending": sum(connection.held for connection in connections)}


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
