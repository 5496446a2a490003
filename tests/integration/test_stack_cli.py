"""The ``headgate`` command as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from headgate.stack.layout import Facts, Home


def headgate(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "headgate.cli", *arguments],
        env={**os.environ, "HEADGATE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    said = headgate("--help", home=tmp_path).stdout
    assert all(name in said for name in ("up", "run", "hub", "doctor", "sim", "trace"))


def test_doctor_finds_a_healthy_machine_and_says_what_to_type(open_folder: Path) -> None:
    done = headgate("doctor", "--json", home=open_folder / "home")
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["ok"]) == (0, True)
    assert ("stack", "note", "headgate up") in {
        (each["name"], each["state"], each["hint"]) for each in verdict["checks"]
    }


def test_doctor_sees_secrets_that_others_may_read(open_folder: Path) -> None:
    secrets = open_folder / "home" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "x.token").touch(0o644)
    done = headgate("doctor", "--json", home=open_folder / "home")
    assert done.returncode == 1
    (wrong,) = [each for each in json.loads(done.stdout)["checks"] if each["state"] == "wrong"]
    assert wrong["hint"] == f"chmod 600 {secrets / 'x.token'}"


def test_a_hub_needs_a_platform_first(tmp_path: Path) -> None:
    done = headgate("hub", "add", "hub-1", "--region", "north", home=tmp_path)
    assert done.returncode == 1
    assert "-> headgate up" in done.stderr


def test_a_trace_needs_a_platform_that_runs(tmp_path: Path) -> None:
    Facts("3f1c2a54-0000-4000-8000-00000000000a", 1, 2, 3, {}).write(Home(tmp_path))
    (tmp_path / "lock").touch()
    done = headgate("trace", "1000", "2026-01-01T00:00:00Z", home=tmp_path)
    assert done.returncode == 1
    assert "-> headgate up" in done.stderr


def test_doctor_tells_one_spool_a_hub(open_folder: Path) -> None:
    spool = open_folder / "home" / "hubs" / "hub-1" / "data" / "spool.db"
    spool.parent.mkdir(parents=True)
    for suffix in ("", "-wal", "-shm"):
        spool.with_name(spool.name + suffix).write_bytes(bytes(1024 * 1024))
    done = headgate("doctor", "--json", home=open_folder / "home")
    told = [each for each in json.loads(done.stdout)["checks"] if each["name"] == "spool hub-1"]
    assert [each["says"] for each in told] == [f"3.0 MiB on disk in {spool}"]


def test_a_ledger_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(b"precious")
    options = ("--broker", "mqtt://127.0.0.1:1", "--sensors", "1", "--seconds", "1")
    done = headgate("sim", "fleet", *options, "--ledger", str(tmp_path / "sent"), home=tmp_path)
    assert done.returncode == 1
    assert "name a new one" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "sent").read_bytes() == b"precious"


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    assert headgate("run", "everything", home=tmp_path).returncode == 2
    assert headgate("up", "--stage", "everything", home=tmp_path).returncode == 2


def test_the_gateway_refuses_to_be_reachable_from_elsewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway", "mqtt"],
        env={"HEADGATE_MQTT_BIND": "0.0.0.0:1883", "HEADGATE_IDENTITIES": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "only 127.0.0.1" in done.stderr
