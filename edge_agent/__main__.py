"""``headgate-edge``: the agent of one hub.

Between sensors that speak MQTT and the cloud: takes readings, keeps them on disk, sends them in
batches, and forgets a batch only when the cloud's database has it.
"""

import os

# Before numpy is imported: a pool of threads per core costs memory and computes nothing here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TextIO

from wire.errors import HeadgateError

EPILOG = """\
the first minutes of a hub:
  headgate-edge check  --config /etc/headgate/hub.toml    is everything there? what to type if not
  headgate-edge run    --config /etc/headgate/hub.toml    run it (systemd: Type=notify)
  headgate-edge status --config /etc/headgate/hub.toml    what waits on disk, and for how long yet

exit status: 0 done, 1 the hub cannot run as it is set up (the last line says why), 2 wrong usage
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    asked = _parser().parse_args(arguments)
    reasons: list[str] = []
    status = 1
    try:
        status = COMMANDS[asked.command](asked)
    except* HeadgateError as faults:
        reasons = [str(fault) for fault in _leaves(faults)]
    for reason in reasons:
        _say(f"headgate-edge: {reason}", sys.stderr)
    return status


def _run(asked: argparse.Namespace) -> int:
    from edge_agent import settings

    told = settings.load(asked.config)
    # Where it is installed, structlog imports it to draw tracebacks: megabytes a hub does not have.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from edge_agent import run

    run.configure_logging()
    run.run(told)
    return 0


def _check(asked: argparse.Namespace) -> int:
    from edge_agent import look, settings

    faults = list(look.faults(settings.load(asked.config)))
    for fault in faults:
        _say(f"{fault.what}\n    type: {fault.type_this}")
    if not faults:
        _say(f"all well; type: headgate-edge run --config {asked.config}")
    return 1 if faults else 0


def _status(asked: argparse.Namespace) -> int:
    from edge_agent import look, settings

    state = look.spool_state(settings.load(asked.config))
    if asked.json:
        _say(json.dumps(state.as_dict()))
    else:
        for name, value in state.as_dict().items():
            _say(f"{name:<12} {'-' if value is None else value}")
    return 0


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "run": _run,
    "check": _check,
    "status": _status,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate-edge",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, words in (
        ("run", "run the hub until SIGTERM; what it said is committed stays so"),
        ("check", "say what keeps the hub from running here, and the next command to type"),
        ("status", "say what waits in the spool; changes nothing, the hub may be running"),
    ):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument(
            "--config", type=Path, required=True, metavar="FILE", help="the hub's settings, TOML"
        )
        if name == "status":
            command.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _leaves(faults: BaseExceptionGroup[HeadgateError]) -> Iterator[HeadgateError]:
    for fault in faults.exceptions:
        if isinstance(fault, BaseExceptionGroup):
            yield from _leaves(fault)
        else:
            yield fault


def _say(line: str, where: TextIO | None = None) -> None:
    (where or sys.stdout).write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
