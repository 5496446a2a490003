"""The composition root of doors for sensors: by HTTP, and by MQTT at the cluster."""

import asyncio
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp

from gateway.adapters.amqp import AmqpUplink
from gateway.adapters.http_meter import PrometheusDoorMeter
from gateway.adapters.http_uplink import MqttUplink
from gateway.adapters.redis_buckets import RedisBuckets
from gateway.core.bind import loopback
from gateway.core.buckets import LATE_SLACK_MS, LocalBuckets
from gateway.core.repeats import Repeats
from gateway.core.virtual_hub import VirtualHub
from gateway.doors.http import HttpDoor, application
from gateway.doors.http_courier import Courier
from gateway.doors.http_health import health
from gateway.doors.http_turnstile import Turnstile
from gateway.doors.sensors import SensorsDoor
from gateway.run import configure_logging
from gateway.settings import HttpSettings
from wire.clock import SystemClock
from wire.ids import Epoch
from wire.limits import EPOCH_BITS

STOP_WITHIN_S = 5
log = structlog.get_logger()


class _Server(uvicorn.Server):
    """uvicorn without hands on the process's signals: its owner cancels it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def http(settings: HttpSettings) -> None:
    """Serve the HTTP door until SIGTERM or SIGINT.

    Raises:
        ForbiddenBindError: The address is not this machine's alone.
        ValueError: The broker's address makes no sense.
        OSError: The address is taken, or the token cannot be read.
    """
    configure_logging(settings.log)
    uvloop.run(_serve(settings))


def sensors(settings: HttpSettings) -> None:
    """Serve what sensors publish to the cluster until SIGTERM or SIGINT.

    Raises:
        ForbiddenBindError: The address is not this machine's alone.
        ValueError: The broker's address makes no sense.
        OSError: The address is taken, or the certificate cannot be read.
    """
    configure_logging(settings.log)
    uvloop.run(_serve_sensors(settings))


async def _serve(settings: HttpSettings) -> None:
    host, port = loopback(settings.http_bind)
    uplink, clock, meter = _uplink(settings), SystemClock(), PrometheusDoorMeter()
    courier = _courier(settings, uplink, clock, meter)
    shared = RedisBuckets.at(settings.redis_url) if settings.redis_url else None
    turnstile = Turnstile(shared, clock, meter)
    door = HttpDoor(courier, turnstile, Repeats(), clock, meter, settings.device_header)
    server = _server(application(door))
    _end_politely()
    try:
        with _listening(host, port) as listener:
            log.info("http_open", host=host, port=port)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(courier.run(), name="courier")
                tasks.create_task(turnstile.run(), name="turnstile")
                tasks.create_task(_answer(server, listener), name="uvicorn")
    except asyncio.CancelledError:
        log.info("http_closed")
    finally:
        if shared is not None:
            await shared.close()


async def _serve_sensors(settings: HttpSettings) -> None:
    host, port = loopback(settings.http_bind)
    uplink, clock, meter = _uplink(settings), SystemClock(), PrometheusDoorMeter("sensors")
    assert isinstance(uplink, AmqpUplink), "the settings have no other address"
    courier = _courier(settings, uplink, clock, meter)
    shared = RedisBuckets.at(settings.redis_url) if settings.redis_url else None
    turnstile = Turnstile(shared, clock, meter)
    late = Turnstile(shared and shared.late(), clock, meter, LocalBuckets(slack_ms=LATE_SLACK_MS))
    door, server = (
        SensorsDoor(uplink, courier, turnstile, late, clock, meter),
        _server(health(courier)),
    )
    _end_politely()
    try:
        with _listening(host, port) as listener:
            async with asyncio.TaskGroup() as tasks:
                for each in (courier, turnstile, late, door):
                    tasks.create_task(each.run(), name=type(each).__name__.lower())
                tasks.create_task(_answer(server, listener), name="uvicorn")
    except asyncio.CancelledError:
        log.info("sensors_closed")
    finally:
        if shared is not None:
            await shared.close()


def _server(answers: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            answers,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )


def _courier(
    settings: HttpSettings,
    uplink: MqttUplink | AmqpUplink,
    clock: SystemClock,
    meter: PrometheusDoorMeter,
) -> Courier:
    """Return who carries batches of a new life of this door."""
    hub = VirtualHub(uplink.hub_id, settings.region, Epoch(secrets.randbits(EPOCH_BITS)))
    return Courier(hub, uplink, settings.store_id, clock, Random().random, meter)


def _uplink(settings: HttpSettings) -> MqttUplink | AmqpUplink:
    """Return the way to the broker its address names.

    Raises:
        ValueError: The address makes no sense, or what proves our name is not said.
        OSError: A file cannot be read.
    """
    if settings.broker_url.startswith("amqps:"):
        if settings.broker_tls is None:
            raise ValueError("HEADGATE_BROKER_TLS is not set: AMQPS needs a certificate")
        return AmqpUplink.read(
            settings.broker_url, settings.broker_tls, settings.region, settings.name
        )
    if settings.broker_token_file is None:
        raise ValueError("HEADGATE_BROKER_TOKEN_FILE is not set: MQTT needs a token")
    return MqttUplink.read(
        settings.broker_url, settings.broker_token_file, settings.region, settings.number
    )


def _end_politely() -> None:
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        signal.alarm(STOP_WITHIN_S)  # whoever was not answered 202 still has its readings
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


async def _answer(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until cancelled; then let go of every client."""
    try:
        await server.serve(sockets=[listener])
    except asyncio.CancelledError:
        if server.started:
            await server.shutdown(sockets=[listener])
        raise


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)
