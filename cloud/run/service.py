"""What every stage's process shares: log, loop, and an orderly end."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Final, Literal

import structlog
import uvloop

STOP_WITHIN_S: Final = 8


def set_up_log(form: Literal["json", "console"]) -> None:
    """Write structured lines to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.dev.ConsoleRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def serve(stage: Coroutine[Any, Any, None]) -> None:
    """Run ``stage`` until it ends or SIGTERM or SIGINT cancels it.

    A stage that a neighbour will not let go is killed by SIGALRM ``STOP_WITHIN_S`` later: what is
    committed is committed, and everything else comes again.
    """

    async def until_stopped() -> None:
        task = asyncio.current_task()
        assert task is not None

        def stop() -> None:
            signal.alarm(STOP_WITHIN_S)
            task.cancel()

        asyncio.get_running_loop().set_exception_handler(_left_behind)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        try:
            await stage
        except asyncio.CancelledError:
            structlog.get_logger(__name__).info("stopped")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())


def _left_behind(_: asyncio.AbstractEventLoop, found: dict[str, Any]) -> None:
    """Say in a line what a library left behind when its connection broke; whoever used it knows."""
    why = repr(found.get("exception"))
    structlog.get_logger(__name__).warning("left behind", what=found["message"], why=why)
