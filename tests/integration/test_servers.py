"""The servers tests start run from where they lie, whoever installed them."""

import os
import subprocess

import pytest

from tests.support.servers import server


@pytest.mark.parametrize(
    ("package", "flag", "says"),
    [
        ("mosquitto", "-h", "mosquitto version 2."),
        ("redis-server", "--version", "Redis server v="),
        ("nginx", "-v", "nginx version: nginx/1."),
    ],
)
def test_a_server_says_its_version(package: str, flag: str, says: str) -> None:
    found = server(package)
    done = subprocess.run(
        [found.program, flag],
        env={**os.environ, **found.env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert says in done.stdout + done.stderr
