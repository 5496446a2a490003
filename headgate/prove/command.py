"""``headgate prove``: options in; progress, a verdict and an exit status out."""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from headgate.prove.account import NOTHING_LOST, Account, table
from headgate.prove.prove import Wish, prove
from headgate.prove.river import Flood
from headgate.stack.errors import StackError

Proof = Callable[[Wish, Path, Callable[[str], None]], Awaitable[Account]]
INTERRUPTED: Final = 130
_RATE_PER_SENSOR: Final = 10.0
_EPILOG: Final = """\
Sensors keep each reading until their hub has it on disk; one in ten does not, and what a kill
costs those is counted as lost_before_commit. The verdict is "nothing lost" only if nothing is
missing, extra or conflicting, in readings and in alerts.

With --cluster nodes are killed, frozen and rolled, ingest is frozen, and one hub's certificate is
revoked: held_by_revoked is what it kept, which must arrive once it is let in again.
unavailable_s_max is, for each kind of fault, the longest time no row of an affected hub was stored
while nothing else was broken. Faults come apart for the first three fifths of the time, one of them
a long one: a node's or ingest's, another with every seed. Then they come together.

exit status: 0 nothing lost, 1 anything else, 2 wrong usage, 130 interrupted
"""


def run(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    asked = _parser().parse_args(arguments)
    rate = asked.rate or asked.sensors * _RATE_PER_SENSOR
    wish = Wish(asked.seconds, asked.hubs, Flood(asked.seed, asked.sensors, rate))
    try:
        home = _home(asked.home)
    except StackError as exc:
        return _fail(exc)
    proved = interrupted = False
    try:
        proof = _at_cluster() if asked.cluster else prove
        found = asyncio.run(until_interrupted(proof, wish, home, _quiet if asked.json else _tell))
        interrupted = found is None
        proved = found is not None and found["verdict"] == NOTHING_LOST
    except StackError as exc:
        return _fail(exc)
    finally:
        _leave(home, keep=asked.keep or asked.home is not None, fine=proved or interrupted)
    if found is None:
        return INTERRUPTED
    print(json.dumps(found) if asked.json else f"\n{table(found)}", flush=True)
    return 0 if proved else 1


def _at_cluster() -> Proof:
    from headgate.prove.cluster import prove_cluster  # imports what only a cluster needs

    return prove_cluster


async def until_interrupted(
    proof: Proof, wish: Wish, home: Path, tell: Callable[[str], None]
) -> Account | None:
    """Return the account, or None once Ctrl-C or SIGTERM has ended everything.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # once is enough: stopping is bounded
        sys.stderr.write("interrupted: stopping everything\n")
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await proof(wish, home, tell)
    except asyncio.CancelledError:
        sys.stderr.write("stopped; nothing runs any more\n")
        return None
    except ExceptionGroup as group:  # of the links, which were open around it
        if (failure := _failure(group)) is None:
            raise
        raise failure from group


def _failure(group: ExceptionGroup) -> StackError | None:
    """Return what could not be started, if nothing else went wrong."""
    known, others = group.split(StackError)
    failure: Exception | None = known
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure if others is None and isinstance(failure, StackError) else None


def _home(chosen: Path | None) -> Path:
    if chosen is None:
        return Path(tempfile.mkdtemp(prefix="headgate-prove-"))
    if chosen.exists() and any(chosen.iterdir()):
        raise StackError(f"{chosen} is not empty", hint="a proof needs a folder of its own")
    return chosen.absolute()


def _leave(home: Path, *, keep: bool, fine: bool) -> None:
    """Remove the data, or keep them and say where, and what to type if something is wrong."""
    if fine and not keep:
        shutil.rmtree(home, ignore_errors=True)
        return
    sys.stderr.write(f"kept: database, ledgers, spools and logs in {home}\n")
    if not fine:
        sys.stderr.write(
            f"  -> ask the database: headgate up --home {home}\n"
            f"  -> read the logs:    ls {home / 'logs'}\n"
        )


def _fail(failure: StackError) -> int:
    sys.stderr.write(f"headgate prove: {failure.args[0]}\n  -> {failure.hint}\n")
    return 1


def _tell(line: str) -> None:
    print(line, flush=True)


def _quiet(line: str) -> None:
    """Say nothing: whoever wants JSON wants only that."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate prove",
        description="Kill processes and cut links under a flood, then compare with the oracle.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=_positive, default=30.0, help="how long faults strike (default 30)")
    add("--seed", type=int, default=1, help="the same seed strikes the same (default 1)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    add("--cluster", action="store_true", help="at three RabbitMQ nodes instead of one broker")
    add("--home", type=Path, help="empty folder for the data, kept (default: temporary)")
    add("--hubs", type=_count, default=3, help="every second has windows (default 3)")
    add("--sensors", type=_count, default=20, help="on each hub (default 20)")
    add("--rate", type=_positive, help="readings a second on each hub (default 10 a sensor)")
    add("--keep", action="store_true", help="keep the data even if nothing was lost")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a million")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return value
