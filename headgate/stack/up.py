"""``headgate up``: the stack in the foreground."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from headgate.stack.errors import StackError
from headgate.stack.postgres import Flavour
from headgate.stack.programs import DOOR
from headgate.stack.stack import Stack


def run(home: Path, *, ingest_workers: int, stages: tuple[str, ...]) -> int:
    """Run the stack until SIGINT or SIGTERM; return the exit status."""
    try:
        asyncio.run(_run(home, ingest_workers, stages))
    except StackError as exc:
        sys.stderr.write(f"headgate: {exc.args[0]}\n  -> {exc.hint}\n")
        return 1
    return 0


async def _run(home: Path, ingest_workers: int, stages: tuple[str, ...]) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # once is enough: stopping is bounded
        print("stopping", flush=True)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    chosen = os.environ.get("HEADGATE_POSTGRES")
    stack = Stack(
        home,
        ingest_workers=ingest_workers,
        stages=stages,
        postgres=Flavour(chosen) if chosen else None,
        tell=lambda line: print(f"  {line}", flush=True),
    )
    try:
        async with stack:
            print(_summary(stack), flush=True)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("stopped", flush=True)


def _summary(stack: Stack) -> str:
    url = f"http://127.0.0.1:{stack.ports.http}/api/sensors/data"
    readings = [f"  readings    POST {url}"] if DOOR in stack.processes else []
    return "\n".join(
        [
            "",
            "Headgate is up, on this machine only.",
            f"  API         {stack.api_url}  (described in {stack.api_url}/openapi.json)",
            *readings,
            f"  MQTT        mqtt://127.0.0.1:{stack.ports.mqtt}",
            f"  PostgreSQL  {stack.database_url}",
            f"  logs        {stack.home.logs}",
            "Add a hub:    headgate hub add my-hub --region my-region",
            "Stop:         Ctrl-C",
        ]
    )
