"""A broker that forgets everything every few seconds costs nothing but resends."""

import json
import subprocess
import sys

import pytest

from headgate.prove.account import NOTHING_LOST
from tests.support.servers import server


@pytest.mark.timeout(300)
@pytest.mark.spec("I6")
def test_nothing_is_lost_by_a_broker_that_keeps_nothing_and_is_killed_again_and_again() -> None:
    server("mosquitto")
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "benchmarks.amnesia", "--json"),
            *("--seconds", "10", "--hubs", "2", "--sensors", "5"),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    account = json.loads(done.stdout.splitlines()[-1])
    assert account["verdict"] == NOTHING_LOST, (account, done.stderr)
    assert done.returncode == 0
    assert account["readings_sent"] == account["readings_stored"] > 200
    assert account["kills"]["mosquitto"] > 1
