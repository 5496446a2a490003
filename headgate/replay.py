"""A recorded file through a platform of its own: every value at its own time, then compared."""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from headgate.stack.network import free_port
from headgate.stack.process import run_once
from headgate.stack.programs import command, environment
from headgate.stack.stack import Stack

HUB: Final = "replay-1"
FLOOR: Final = "2000-01-01T00:00:00Z"
_WITHIN_S: Final = 3_600.0
_SPOOL_EMPTY_WITHIN_S: Final = 300.0


async def replay(
    stack: Stack, file: Path, map_name: str, ledger: Path, speed: str = "max"
) -> dict[str, Any]:
    """Send a file through a hub of its own and return the oracle's verdict.

    Args:
        stack: A running platform.
        file: CSV or CSV.gz.
        map_name: A shipped map, or a path.
        ledger: To be written.
        speed: Seconds of the file in a second; ``max`` = as fast as the hub commits.
    """
    port = free_port(0)
    config = await stack.enrol_hub(
        HUB,
        "replay",
        window_s=0,
        backfill_floor=FLOOR,
        sensors={"listen": f"127.0.0.1:{port}", "readings_per_s_max": 1_000_000},
    )
    await stack.start_hub(HUB, config)
    start = time.monotonic()
    source = ("replay", str(file), "--map", map_name, "--speed", speed, "--ledger", str(ledger))
    await _run(stack, "firmware_sim", *source, "--broker", f"mqtt://127.0.0.1:{port}")
    async with asyncio.timeout(_SPOOL_EMPTY_WITHIN_S):
        await _forgotten(stack, config)
    seconds = time.monotonic() - start
    question = ("oracle", "--ledger", str(ledger), "--database", stack.database_url, "--json")
    verdict: dict[str, Any] = json.loads(await _run(stack, "firmware_sim", *question))
    return verdict | {"seconds": round(seconds, 1)}


async def _forgotten(stack: Stack, config: Path) -> None:
    """Wait until the hub has receipts for everything it sent."""
    while True:
        spool = json.loads(
            await _run(stack, "edge_agent", "status", "--json", "--config", str(config))
        )
        if spool["batches"] + spool["intake"] == 0:
            return
        await asyncio.sleep(0.5)


async def _run(stack: Stack, program: str, *arguments: str) -> str:
    said = await run_once(command(program, *arguments), environment(stack.home), within_s=_WITHIN_S)
    return said.strip().splitlines()[-1] if said.strip() else ""


async def _measured(file: Path, map_name: str, speed: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="headgate-replay-", ignore_cleanup_errors=True) as home:
        stages = ("ingest", "refresh", "api")
        async with Stack(Path(home), stages=stages, any_ports=True) as stack:
            return await replay(stack, file, map_name, Path(home) / "ledger", speed)


def run(arguments: Sequence[str]) -> int:
    """Replay one file and print the verdict as one JSON line; return 0 if it arrived whole.

    Raises:
        StackError: The platform could not be started; it says what to type.
    """
    parser = argparse.ArgumentParser(
        prog="headgate sim replay",
        description=__doc__,
        epilog="With --broker URL --ledger FILE it goes to a hub that runs already.",
    )
    parser.add_argument("file", type=Path, help="CSV or CSV.gz")
    parser.add_argument("--map", required=True, help="gecco2017, logan_river, or MAP.toml")
    parser.add_argument("--speed", default="max", help="file seconds in a second (default: max)")
    parser.add_argument("--json", action="store_true", help="the verdict is JSON in any case")
    options = parser.parse_args(arguments)
    verdict = asyncio.run(_measured(options.file.absolute(), options.map, options.speed))
    print(json.dumps(verdict))
    return 0 if verdict["missing"] == verdict["extra"] == verdict["conflicting"] == 0 else 1
