"""The command line of the simulators."""

import asyncio
import sys

import structlog
from pydantic import ValidationError
from pydantic_settings import CliApp, get_subcommand

from firmware_sim import run
from firmware_sim.settings import (
    BatchesCommand,
    FleetCommand,
    FloodCommand,
    Main,
    OracleCommand,
    ReplayCommand,
)
from wire.errors import HeadgateError


def main() -> None:
    """Run a command; a failure we know ends with its reason and status 1."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        command = get_subcommand(CliApp.run(Main), is_required=True)
    except ValidationError as failure:
        for fault in failure.errors():
            sys.stderr.write(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}\n")
        sys.exit(2)
    reason = ""
    try:
        asyncio.run(_run(command))
    except* FileExistsError as failures:
        there = getattr(_first(failures), "filename", None)
        reason = f"{there} exists, and a ledger is never continued: name a new one"
    except* HeadgateError as failures:
        reason = str(_first(failures))
    if reason:
        sys.exit(reason)  # told on stderr, status 1


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure of any depth."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _run(command: object) -> None:
    match command:
        case FleetCommand() | FloodCommand():
            await run.fleet(command)
        case BatchesCommand():
            await run.batches(command)
        case ReplayCommand():
            await run.replay_file(command)
        case OracleCommand():
            await run.oracle(command)
        case _:
            raise AssertionError(f"no such command: {command!r}")


if __name__ == "__main__":
    main()
