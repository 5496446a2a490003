"""The demo as a newcomer sees it: it ends by itself, nothing is lost, nobody is left behind."""

import json
import subprocess
import sys

import psutil
import pytest

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
    command = [sys.executable, "-P", "-m", "headgate.cli", "demo", "--seconds", "12", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout.strip().splitlines()[-1])
    assert account.keys() >= FIGURES
    assert account["readings_stored"] == account["readings_sent"] > 400
    assert account["missing"] == account["extra"] == account["refused"] == 0
    assert account["alerts_missing"] == account["alerts_extra"] == 0
    assert account["alerts_expected"] > 3
    assert account["alert_latency_ms"]["n"] > 3
    assert account["bytes_per_reading"] > 0
    assert set(of_the_demo()) <= before
