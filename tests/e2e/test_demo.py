"""The demo as a newcomer sees it: it ends by itself, nothing is lost, nobody is left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import psutil
import pytest

from tests.support.wait import until

FIGURES = {
    "readings_sent",
    "readings_stored",
    "missing",
    "extra",
    "refused",
    "refused_values",
    "alerts_expected",
    "alerts",
    "alert_latency_ms",
    "bytes_per_reading",
}


def of_the_demo() -> list[str]:
    """Return the commands of processes that live in a demo's data directory."""
    lines = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    return [line for line in lines if "/headgate-demo-" in line]


@pytest.mark.timeout(240)
@pytest.mark.spec("K4", "K5", "K6", "D1", "N1")
def test_every_reading_arrives_once_and_every_contamination_is_told() -> None:
    before = set(of_the_demo())
    command = [sys.executable, "-P", "-m", "headgate.cli", "demo", "--seconds", "30", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout.strip().splitlines()[-1])
    assert account.keys() >= FIGURES
    assert account["readings_stored"] == account["readings_sent"] > 1_000
    assert account["missing"] == account["extra"] == account["refused"] == 0
    assert account["alerts_missing"] == account["alerts_extra"] == 0
    assert account["alerts_expected"] >= 20
    assert account["alert_latency_ms"]["n"] >= 20
    assert account["bytes_per_reading"] > 0
    assert set(of_the_demo()) <= before


def ledgers(before: set[str]) -> list[Path]:
    """Return where the fleets started since write down what they measure."""
    fleets = [line.split() for line in set(of_the_demo()) - before if "firmware_sim fleet" in line]
    return [Path(words[words.index("--ledger") + 1]) for words in fleets]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("measuring", [True, False], ids=["measuring", "starting"])
async def test_ctrl_c_ends_it_with_a_count_if_any_and_leaves_no_process(measuring: bool) -> None:
    before = set(of_the_demo())
    command = [sys.executable, "-P", "-m", "headgate.cli", "demo", "--json"]

    def is_time() -> bool:
        return any(not measuring or measured(ledger) for ledger in ledgers(before))

    demo = await asyncio.create_subprocess_exec(*command, stdout=PIPE, start_new_session=True)
    try:
        await until(is_time, within_s=90, poll_s=0.05)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        async with asyncio.timeout(120):
            output, _ = await demo.communicate()
    finally:
        if demo.returncode is None:
            demo.kill()
    if measuring:
        account = json.loads(output.decode().strip().splitlines()[-1])
        assert account["readings_stored"] == account["readings_sent"] > 0
    assert (demo.returncode, bool(output)) == ((0, True) if measuring else (130, False))
    assert set(of_the_demo()) <= before


def measured(ledger: Path) -> int:
    """Return how many bytes a ledger holds."""
    files = ledger.rglob("*") if ledger.is_dir() else [ledger]
    return sum(file.stat().st_size for file in files if file.exists())
