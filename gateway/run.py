"""The gateway's composition root: the one place that knows what is real."""

import asyncio
import logging
import signal
import sys

import structlog
import uvloop

from gateway.adapters.broker import EmbeddedBroker
from gateway.adapters.identities import IdentityFiles
from gateway.adapters.meter import PrometheusMeter
from gateway.core.bind import loopback
from gateway.doors.mqtt import MqttDoor
from gateway.settings import Settings


def mqtt(settings: Settings) -> None:
    """Serve the embedded broker until SIGTERM or SIGINT.

    Raises:
        ForbiddenBindError: The address is not this machine's alone.
        OSError: The address is taken.
    """
    configure_logging(settings.log)
    host, port = loopback(settings.mqtt_bind)
    uvloop.run(_serve(settings, host, port))


async def _serve(settings: Settings, host: str, port: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    log = structlog.get_logger()
    meter = PrometheusMeter()
    broker = EmbeddedBroker(meter)
    door = MqttDoor(IdentityFiles(settings.identities), broker, meter)
    await broker.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(broker.watch(), name="watch")
            tasks.create_task(
                door.serve(host, port, lambda at: log.info("mqtt_open", host=host, port=at)),
                name="door",
            )
    except asyncio.CancelledError:
        log.info("mqtt_closed")


def configure_logging(style: str) -> None:
    """Send one line a decision to standard error."""
    # The library formats a debug line a packet, and reports each of a client's mistakes.
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
