"""The composition root of a hub: the only place that knows what is real."""

import asyncio
import ctypes
import gc
import logging
import random
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final

import structlog

from edge_agent.adapters.certificate import Certificate
from edge_agent.adapters.mqtt import Account
from edge_agent.adapters.room import disk_free_bytes
from edge_agent.adapters.spool import SpoolSettings, SqliteSpool
from edge_agent.adapters.subscriber import BrokerSubscriber
from edge_agent.adapters.thread import OwnThread
from edge_agent.adapters.uplink import MqttUplink
from edge_agent.collect import Collector, CollectSettings
from edge_agent.core.clock import Now
from edge_agent.core.outbox import Outbox
from edge_agent.core.pace import Pace
from edge_agent.forward import Forward
from edge_agent.health import Inside, Reporter, ScoringFault, scoring_fault
from edge_agent.ports import SensorSide
from edge_agent.receive import Receive
from edge_agent.settings import HubSettings, SettingsError, check_certificate, read_token
from water.bands import bands
from water.model import MalformedBundleError, Model, load, shipped
from water.screening import plausible
from wire.clock import Clock, SystemClock
from wire.ids import UnixMs

WATCHDOG_EVERY_MS: Final = 10_000
TRIM_EVERY_MS: Final = 60_000
STOP_WITHIN_S: Final = 8
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger()


def run(settings: HubSettings) -> None:
    """Run a hub until SIGTERM or SIGINT; what it said is committed is on disk, then and after.

    What has not ended ``STOP_WITHIN_S`` later is killed by SIGALRM: the spool stands any end.

    Raises:
        SettingsError: A setting cannot be used on this machine.
        SpoolLockedError: Another agent owns the data directory.
        SpoolMismatchError: It is another hub's.
        LinkLostError: In a group: the sensors cannot be served here.
    """
    accounts = _accounts(settings)
    with suppress(ModuleNotFoundError):  # faster where it is installed, the same where it is not
        import uvloop

        uvloop.install()
    asyncio.run(_until_told(settings, accounts))


def _accounts(settings: HubSettings) -> Iterator[Account]:
    """Return who we are at each of the broker's nodes, round and round.

    Hubs begin at different nodes. A client id others can guess is one they can throw out: by
    certificate, where a hub may choose, random digits follow the hub's own.
    """
    uplink, hub_id = settings.uplink, settings.hub_id
    nodes = random.SystemRandom().sample(uplink.url.nodes, len(uplink.url.nodes))
    if uplink.certificate_dir is not None:
        check_certificate(uplink.certificate_dir, hub_id)
        certificate = Certificate(uplink.certificate_dir)
        client_id = f"{hub_id}.{secrets.token_hex(8)}"
        return cycle([Account(*node, client_id, certificate=certificate) for node in nodes])
    assert uplink.token_file is not None, "settings ask for exactly one"
    token = read_token(uplink.token_file)
    return cycle([Account(*node, hub_id, hub_id, token) for node in nodes])


async def _until_told(settings: HubSettings, accounts: Iterator[Account]) -> None:
    clock = SystemClock()
    told = asyncio.Event()

    def stop() -> None:
        signal.alarm(STOP_WITHIN_S)
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with _hub(settings, accounts, clock) as hub:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(hub.receive.run(), name="receive"),
                tasks.create_task(hub.forward.run(), name="forward"),
                tasks.create_task(_watchdog(clock), name="watchdog"),
                tasks.create_task(_keep_small(clock), name="memory"),
            ]
            log.info("hub runs", hub_id=settings.hub_id, spool=repr(hub.spool))
            await told.wait()
            for task in running:
                task.cancel()
        await hub.receive.finish()
    log.info("hub stopped", hub_id=settings.hub_id)


@dataclass(frozen=True, slots=True)
class _Hub:
    spool: SqliteSpool
    receive: Receive
    forward: Forward


@asynccontextmanager
async def _hub(
    settings: HubSettings, accounts: Iterator[Account], clock: Clock
) -> AsyncIterator[_Hub]:
    in_turn = OwnThread("spool")
    try:
        spool = await in_turn(_spool, settings)
        try:
            model = await in_turn(model_of, shipped)
            collector = await in_turn(_collector, settings, spool, clock, model)
            fault = scoring_fault(model)
            yield _composed(settings, accounts, clock, in_turn, spool, collector, fault)
        finally:
            await in_turn(spool.close)
    finally:
        in_turn.close()


def _spool(settings: HubSettings) -> SqliteSpool:
    return SqliteSpool(
        SpoolSettings(
            settings.data_dir,
            settings.hub_id,
            settings.region,
            settings.spool_bytes_max,
            settings.floor_ms,
        ),
        secrets.randbits,
    )


def model_of(read: Callable[[], bytes]) -> Model | None:
    """Return the model in the bundle ``read`` returns; without it a hub does everything else."""
    try:
        model = load(read())
    except (OSError, MalformedBundleError) as exc:
        log.error("no model: rows go unscored", why=str(exc))
        return None
    if model.why:
        log.warning("numpy scores in place of tflite", why=model.why)
    return model


def _collector(
    settings: HubSettings, spool: SqliteSpool, clock: Clock, model: Model | None
) -> Collector:
    collect = CollectSettings(
        boot=BOOT_ID.read_text().strip() if BOOT_ID.exists() else secrets.token_hex(8),
        window_ms=settings.window_s * 1_000,
        clock_trusted=settings.clock_trusted,
        backfill=settings.floor_ms is not None,
        by_name=settings.sensors.url is not None,
    )
    return Collector(spool, collect, bands(), plausible(), _now(clock), model)


def _composed(
    settings: HubSettings,
    accounts: Iterator[Account],
    clock: Clock,
    in_turn: OwnThread,
    spool: SqliteSpool,
    collector: Collector,
    fault: ScoringFault,
) -> _Hub:
    arrivals: Counter[str] = Counter()
    sensors = _sensors(settings, clock, arrivals)
    sent: Counter[str] = Counter()

    def inside() -> Inside:
        epochs = tuple((held.epoch, held.next_sequence) for held in spool.held())
        gauges = spool.gauges() | {"disk_free_bytes": disk_free_bytes(settings.data_dir)}
        gauges["scoring_fault"] = int(fault)
        trusted = collector.clock.now_ms(_now(clock)) is not None
        return Inside(epochs, trusted, gauges | collector.counts)

    def flying() -> Mapping[str, int]:
        return {"batches_in_flight": outbox.in_flight, "window": outbox.window}

    outbox = Outbox(spool.epoch)
    started_ms = clock.steady_ms()
    forward = Forward(
        store=spool,
        in_turn=in_turn,
        uplink=MqttUplink(accounts, settings.region, settings.hub_id),
        outbox=outbox,
        store_id=settings.store_id,
        report=Reporter(
            in_turn, inside, (flying, lambda: sent, lambda: arrivals), clock, started_ms
        ),
        heard_time=lambda cloud_ms: collector.hear(cloud_ms, _now(clock)),
        clock=clock,
        chance=random.SystemRandom().random,
        counts=sent,
    )
    receive = Receive(collector, in_turn, sensors, forward.wake, clock, arrivals)
    return _Hub(spool, receive, forward)


def _sensors(settings: HubSettings, clock: Clock, counts: Counter[str]) -> SensorSide:
    listen, url = settings.sensors.listen, settings.sensors.url
    if url is not None:
        account = Account(url.host, url.port, f"{settings.hub_id}-sensors")
        return BrokerSubscriber(account, clock, counts)
    assert listen is not None, "settings ask for exactly one"
    try:
        from edge_agent.adapters.listener import EmbeddedListener
    except ModuleNotFoundError as exc:
        raise SettingsError(
            f"sensors.listen needs {exc.name}, which is not installed; "
            "type: pip install 'headgate[edge,broker]', or set sensors.url to a broker of your own"
        ) from exc
    pace = Pace(settings.sensors.readings_per_s_max)
    return EmbeddedListener(listen.host, listen.port, clock, counts, pace)


async def _watchdog(clock: Clock) -> None:
    """Tell systemd, where there is one, that the hub has started and that it lives."""
    with suppress(ModuleNotFoundError):
        from sdnotify import SystemdNotifier

        systemd = SystemdNotifier()
        systemd.notify("READY=1")
        while True:
            systemd.notify("WATCHDOG=1")
            await clock.sleep_ms(WATCHDOG_EVERY_MS)


async def _keep_small(clock: Clock) -> None:
    """Give the system back what importing, or a flood, has left free: megabytes on a small hub."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        gc.collect()
        trim(0)
        await clock.sleep_ms(TRIM_EVERY_MS)


def _now(clock: Clock) -> Now:
    return Now(UnixMs(clock.now_ms()), clock.steady_ms())


def configure_logging() -> None:
    """One line a decision on standard error: JSON for machines, words for a terminal."""
    # What the library's own tasks report of one sensor's mistakes is counted by us already.
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stderr)
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
