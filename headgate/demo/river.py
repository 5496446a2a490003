"""Starts the platform, two hubs and a fleet; watches; at the end lets the oracle count."""

import asyncio
import json
import re
import signal
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
import websockets
from rich.live import Live

from headgate.demo.view import view
from headgate.demo.watch import Watch
from headgate.stack.errors import StackError
from headgate.stack.network import free_port
from headgate.stack.programs import command, environment
from headgate.stack.stack import Stack

HUBS: Final = ("hub-1", "hub-2")
SENSORS: Final = 20
_FOR_EVER_S: Final = 1e6
_EVERY_S: Final = 0.25
_LAST_ALERTS_S: Final = 1.0  # they follow the last readings
_DRAIN_WITHIN_S: Final = 60.0
_ASK_WITHIN_S: Final = 10.0

Account = dict[str, Any]


async def demo(seconds: float | None, *, as_json: bool, tell: Callable[[str], None]) -> Account:
    """Show the river until ``seconds`` have passed or Ctrl-C, and return the account.

    Raises:
        StackError: Something could not be started; it says what to type.
    """
    tell("starting the platform and two hubs; this takes some ten seconds")
    with tempfile.TemporaryDirectory(prefix="headgate-demo-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        async with Stack(home, any_ports=True, tell=tell) as stack:
            brokers = [await _start_hub(stack, hub) for hub in HUBS]
            watch, ledger = Watch(), home / "ledger"
            async with _fleet(stack, brokers, ledger, seconds or _FOR_EVER_S, watch) as fleet:
                await _spectate(stack, fleet, watch, live=not as_json)
                tell("waiting for the last readings")
            await _drained(stack, watch)
            tell("comparing every reading sent with the database")
            account = await _account(stack, watch, ledger)
            tell("stopping everything")
    return account


async def _start_hub(stack: Stack, hub: str) -> str:
    port = free_port(0)
    config = await stack.enrol_hub(
        hub, "north", window_s=0, sensors={"listen": f"127.0.0.1:{port}"}
    )
    await stack.start_hub(hub, config)
    return f"mqtt://127.0.0.1:{port}"


@asynccontextmanager
async def _fleet(
    stack: Stack, brokers: list[str], ledger: Path, seconds: float, watch: Watch
) -> AsyncIterator[Process]:
    """Run the fleet; leaving early asks it to stop measuring and to see its readings committed."""
    arguments = [
        *(word for broker in brokers for word in ("--broker", broker)),
        *("--sensors", str(SENSORS), "--seconds", str(seconds), "--ledger", str(ledger)),
        *("--contaminate-every", "1", "--contamination-seconds", "4"),
        *("--progress-every", "0.25"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command("firmware_sim", "fleet", *arguments),
        env=environment(stack.home),
        stdout=PIPE,
        start_new_session=True,  # Ctrl-C reaches us alone
    )
    try:
        yield process
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):  # what is then still under way, the account calls missing
            async with asyncio.timeout(_DRAIN_WITHIN_S):
                await follow_fleet(process, watch)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _spectate(stack: Stack, fleet: Process, watch: Watch, *, live: bool) -> None:
    """Follow fleet, alerts and store until the fleet is done or somebody presses Ctrl-C.

    Raises:
        KeyboardInterrupt: Somebody did before the first reading: there is nothing to count.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    try:
        async with asyncio.TaskGroup() as group:
            followers = [
                group.create_task(follow_alerts(stack, watch), name="alerts"),
                group.create_task(_follow_store(stack, watch), name="store"),
                group.create_task(_draw(stack, watch, live=live), name="view"),
            ]
            said = group.create_task(follow_fleet(fleet, watch), name="fleet")
            stop = group.create_task(interrupted.wait(), name="ctrl-c")
            await asyncio.wait([said, stop], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(_LAST_ALERTS_S)
            for task in (*followers, said, stop):
                task.cancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if interrupted.is_set() and not watch.sent:
        raise KeyboardInterrupt


async def follow_fleet(fleet: Process, watch: Watch) -> None:
    """Note what the fleet says until it is done.

    Raises:
        StackError: It failed.
    """
    assert fleet.stdout is not None
    async for line in fleet.stdout:
        watch.fleet_said(json.loads(line))
    if await fleet.wait() != 0:
        raise StackError("the simulated fleet failed", hint="its error is above")


async def follow_alerts(stack: Stack, watch: Watch) -> None:
    """Note every alert the moment it is pushed to us; reconnect for ever."""
    url = stack.api_url.replace("http", "ws", 1) + "/api/ws/alerts"
    async for socket in websockets.connect(url, max_size=2**22):
        with suppress(websockets.ConnectionClosed):
            async for message in socket:
                came_ms = time.time_ns() / 1e6
                for alert in _alerts(json.loads(message)):
                    watch.alert_came(alert, came_ms)


def _alerts(message: Any) -> list[dict[str, Any]]:
    return message["alerts"] if "alerts" in message else [message.get("alert", message)]


async def _follow_store(stack: Stack, watch: Watch) -> None:
    pool = await asyncpg.connect(stack.database_url)
    try:
        while True:
            watch.stored = await _stored(pool)
            await asyncio.sleep(_EVERY_S)
    finally:
        await pool.close()


async def _stored(connection: "asyncpg.Connection[Any]") -> int:
    count = await connection.fetchval("select coalesce(sum(samples), 0) from sensor_readings")
    return int(count)


async def _draw(stack: Stack, watch: Watch, *, live: bool) -> None:
    if not live:
        return
    started = time.monotonic()
    with Live(refresh_per_second=4, transient=False) as screen:
        while True:
            elapsed_s = time.monotonic() - started
            watch.look(elapsed_s)
            screen.update(view(watch, stack.api_url, elapsed_s=elapsed_s))
            await asyncio.sleep(_EVERY_S)


async def _drained(stack: Stack, watch: Watch) -> None:
    """Wait until everything sent has reached the store, or can no longer be expected to."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_WITHIN_S):
                while (stored := await _stored(connection)) < watch.sent:
                    watch.stored = stored
                    await asyncio.sleep(_EVERY_S)
    finally:
        await connection.close()


async def _account(stack: Stack, watch: Watch, ledger: Path) -> Account:
    """Let the oracle compare what was sent with what is stored."""
    process = await asyncio.create_subprocess_exec(
        *command("firmware_sim", "oracle", "--ledger", str(ledger)),
        *("--database", stack.database_url, "--json"),
        env=environment(stack.home),
        stdout=PIPE,
    )
    output, _ = await process.communicate()
    lines = output.decode().strip().splitlines()
    if not lines:
        raise StackError("the oracle gave no verdict", hint="its error is above")
    verdict: Account = json.loads(lines[-1])
    weight = await _bytes_stored(stack) / max(1, verdict["readings_stored"])
    return verdict | {
        "bytes_per_reading": round(weight, 2),
        "alert_latency_ms": watch.latency(),
    }


async def _bytes_stored(stack: Stack) -> float:
    """Return what the stored batches weighed between hub and cloud, as ingest counted."""
    async with asyncio.timeout(_ASK_WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.ports.api)
        try:
            writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            text = (await reader.read()).decode()
        finally:
            writer.close()
    found = re.search(r"^headgate_ingest_bytes_total (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0
