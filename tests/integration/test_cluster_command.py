"""``headgate cluster``: what an operator types, and what it answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cluster.files import conf, render
from tests.support.rabbitmq import Rabbits
from wire.ids import Region


def cluster(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "headgate.cli", "cluster", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("enrol", "--help")])
def test_it_explains_itself(arguments: tuple[str, ...]) -> None:
    done = cluster(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout


def test_it_writes_the_files_a_cluster_starts_from(tmp_path: Path) -> None:
    assert cluster("files", str(tmp_path), "--region", "north").returncode == 0
    assert (tmp_path / "rabbitmq.conf").read_text() == conf()
    assert (tmp_path / "definitions.json").read_text() == render([Region("north")])


def test_a_hub_is_let_in_the_cluster_found_safe_and_the_hub_shown_out(
    rabbit: Rabbits, tmp_path: Path
) -> None:
    environment = {
        "HEADGATE_MANAGEMENT_URL": rabbit.management,
        "HEADGATE_MANAGEMENT_PASSWORD_FILE": str(rabbit.cluster.admin_file),
    }
    unsafe = tmp_path / "rabbitmq.conf"
    unsafe.write_text(conf() + "queue_master_locator = min-masters\n")
    said = [
        cluster(*arguments, **environment)
        for arguments in (
            ("enrol", "hub-typed", "--region", "north"),
            ("check",),
            ("check", "--conf", str(unsafe)),
            ("revoke", "hub-typed"),
            ("enrol", "ingest", "--region", "north"),
            ("enrol", "sensors-7", "--region", "north"),
            ("enrol-door", "sensors-7", "--region", "north"),
            ("check",),
            ("revoke", "sensors-7"),
        )
    ]
    assert [done.returncode for done in said] == [0, 0, 1, 0, 2, 2, 0, 0, 0], said
    assert "queue_master_locator = min-masters" in said[2].stdout
    assert "ingest is a stage's, a door's or a sensor's name" in said[4].stderr


def test_a_cluster_that_does_not_answer_is_one_line_and_status_2(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("unknown")
    done = cluster("check", "--management", "http://127.0.0.1:9", "--password-file", str(password))
    assert done.returncode == 2
    assert done.stderr.startswith("gateway: management API: ")
    assert len(done.stderr.splitlines()) == 1
