"""``python -m cloud STAGE``: one process a stage. A stage's imports wait until it is asked for."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cloud import dlq as dlq_words
from cloud import replay as replay_words
from cloud.settings import ApiSettings, LogSettings, S, Settings, StageSettings, read
from wire.errors import HeadgateError


def migrate(_asked: argparse.Namespace) -> None:
    """Bring the database's schema up to date."""
    from cloud.run.schema import run_migrate

    asyncio.run(run_migrate(_told(Settings)))


def store_id(_asked: argparse.Namespace) -> None:
    """Print the name hubs pin this store by."""
    from cloud.run.schema import run_store_id

    _say(asyncio.run(run_store_id(_told(Settings))))


def ingest(_asked: argparse.Namespace) -> None:
    """Store what hubs send, and give them receipts."""
    from cloud.run.ingest import run_ingest

    _serve(run_ingest(_told(StageSettings)))


def api(_asked: argparse.Namespace) -> None:
    """Answer readers over HTTP, on the loopback interface."""
    from cloud.run.api import run_api

    _serve(run_api(_told(ApiSettings)))


def detect(_asked: argparse.Namespace) -> None:
    """Turn batches into findings."""
    from cloud.run.detect import run_detect

    _serve(run_detect(_told(StageSettings)))


def alert(_asked: argparse.Namespace) -> None:
    """Turn findings into alerts."""
    from cloud.run.alert import run_alert

    _serve(run_alert(_told(StageSettings)))


def refresh(_asked: argparse.Namespace) -> None:
    """Keep what hubs say of themselves up to date."""
    from cloud.run.refresh import run_refresh

    _serve(run_refresh(_told(StageSettings)))


def trace(asked: argparse.Namespace) -> None:
    """Show every hop of one reading, or say why it is not stored."""
    from cloud.run.trace import run_trace

    _say(asyncio.run(run_trace(_told(Settings), asked.sensor, asked.time, as_json=asked.json)))


def dlq(asked: argparse.Namespace) -> None:
    """List dead letters, show one, judge some again, or drop them for good."""
    from cloud.run.dlq import run_dlq

    said, done = asyncio.run(run_dlq(_told(Settings), asked))
    _say(said)
    if not done:
        sys.exit(1)


def replay(asked: argparse.Namespace) -> None:
    """Store again what a region's log keeps, in a database of its own."""
    from cloud.run.replay import run_replay

    said, status = asyncio.run(run_replay(_told(LogSettings), asked))
    _say(said)
    sys.exit(status)


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "migrate": migrate,
    "store-id": store_id,
    "ingest": ingest,
    "api": api,
    "detect": detect,
    "alert": alert,
    "refresh": refresh,
    "trace": trace,
    "dlq": dlq,
    "replay": replay,
}


def main() -> None:
    """Run the command line; an expected failure is one line on standard error and status 1."""
    asked = _parser().parse_args()
    # Where it is installed, structlog imports it to draw tracebacks: a fifth of a stage's start.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    try:
        COMMANDS[asked.command](asked)
    except HeadgateError as exc:
        sys.exit(f"error: {exc}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloud", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, act in COMMANDS.items():
        command = commands.add_parser(name, help=act.__doc__, description=act.__doc__)
        if act is trace:
            command.add_argument("sensor", type=_sensor, help="the sensor's number")
            command.add_argument("time", help="ISO 8601 with an offset, or Unix milliseconds")
            command.add_argument("--json", action="store_true", help="one JSON object")
        if act is dlq:
            dlq_words.describe(command)
        if act is replay:
            replay_words.describe(command)
    return parser


def _sensor(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("a sensor's number is not negative")
    return number


def _told(kind: type[S]) -> S:
    """Return the environment's settings, with the log set up as they say."""
    from cloud.run.service import set_up_log

    settings = read(kind)
    set_up_log(settings.log)
    return settings


def _serve(stage: Coroutine[Any, Any, None]) -> None:
    from cloud.run.service import serve

    serve(stage)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")


if __name__ == "__main__":
    main()
