"""Broken probes through the whole platform: each becomes a sensor fault, none a contamination."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from firmware_sim.oracle.oracle import summarise
from headgate.stack.network import free_port
from headgate.stack.process import run_once
from headgate.stack.programs import command, environment
from headgate.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)

HUB = "broken-1"
WITHIN_S = 90.0
FOUND = {"stuck": "stuck", "spike": "spike", "impossible_value": "impossible"}
FLOOD = {
    "--sensors": 8,
    "--rate": 320,  # forty seconds of a sensor's time in a second
    "--seconds": 25,
    "--fault-every": 60,
    "--seed": 4,
    "--progress-every": 60,
}


async def run(stack: Stack, program: str, *words: str) -> list[str]:
    said = await run_once(command(program, *words), environment(stack.home), within_s=WITHIN_S)
    return said.strip().splitlines()


async def alerts_of(stack: Stack, count: int) -> list[tuple[int, str, str]]:
    """Return sensor, kind and cause of every alert once there are ``count`` and none to come."""
    database = await asyncpg.connect(stack.database_url)
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                rows = await database.fetch(
                    "select sensor_id, kind, contaminant_type from contamination_alerts"
                )
                left = await database.fetchval(
                    "select count(*) from findings where settled_at is null"
                )
                if len(rows) >= count and not left:
                    return [tuple(row) for row in rows]
                await asyncio.sleep(0.2)
    finally:
        await database.close()


async def test_each_broken_probe_is_a_sensor_fault_and_never_a_contamination(
    open_folder: Path, tmp_path: Path
) -> None:
    ledger, port = tmp_path / "ledger", free_port(0)
    async with Stack(open_folder, stages=("ingest", "detect", "alert"), any_ports=True) as stack:
        config = await stack.enrol_hub(
            HUB, "north", window_s=0, sensors={"listen": f"127.0.0.1:{port}"}
        )
        await stack.start_hub(HUB, config)
        options = [str(word) for pair in FLOOD.items() for word in pair]
        broker = ("--broker", f"mqtt://127.0.0.1:{port}", "--ledger", str(ledger))
        await run(stack, "firmware_sim", "flood", *broker, *options)
        broken = injected(ledger)
        assert {cause for _, cause in broken} >= set(FOUND.values())
        alerts = await alerts_of(stack, len(broken))
        question = ("--database", stack.database_url, "--ledger", str(ledger), "--json")
        said = await run(stack, "firmware_sim", "oracle", *question)
    verdict: dict[str, Any] = json.loads(said[-1])
    assert {kind for _, kind, _ in alerts} == {"sensor_fault"}
    assert {(sensor, cause) for sensor, _, cause in alerts} == broken
    assert (verdict["alerts_extra"], verdict["alerts_missing"]) == (0, 0)
    assert verdict["alerts"] == len(alerts)


def injected(ledger: Path) -> set[tuple[int, str]]:
    """Return sensor and finding's cause of every injected fault that must be found."""
    return {
        (event["sensor_id"], FOUND[event["cause"]])
        for event in summarise(ledger).events
        if event["cause"] in FOUND
    }
