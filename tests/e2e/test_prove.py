"""``headgate prove`` as a user types it: processes killed, links cut, nothing lost."""

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

from headgate.prove.account import COUNTS, NOTHING_LOST
from headgate.prove.plan import TARGETS
from tests.support.wait import until

SMALL = ("--hubs", "2", "--sensors", "10", "--rate", "50")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "headgate.cli", "prove", *arguments]


@pytest.mark.timeout(300)
def test_nothing_is_lost_by_killing_things() -> None:
    done = subprocess.run(
        command("--seconds", "12", "--seed", "1", "--json", *SMALL),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout, done.stderr
    (line,) = done.stdout.splitlines()
    account = json.loads(line)
    assert account["verdict"] == NOTHING_LOST, (account, done.stderr)
    assert done.returncode == 0
    assert list(account) == [*COUNTS, "kills", "worst_heal_s", "verdict", "seed"]
    assert set(account["kills"]) == set(TARGETS)
    assert all(account["kills"].values())
    sent, stored = account["readings_sent"], account["readings_stored"]
    assert sent == stored + account["lost_before_commit"] + account["refused"]
    assert stored > 500
    assert account["alerts_expected"] > 5
    assert account["worst_heal_s"] > 0


@pytest.mark.timeout(120)
async def test_ctrl_c_leaves_no_process_and_no_data_behind(open_folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command("--seconds", "60", *SMALL),
        env={**os.environ, "TMPDIR": str(open_folder)},
        stdout=PIPE,
        stderr=PIPE,
    )
    family = psutil.Process(process.pid)
    try:
        await until(lambda: any("hub-1" in _words(each) for each in family.children()), within_s=90)
        family_then = family.children(recursive=True)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert b"nothing runs any more" in said
    assert len(family_then) > 6
    assert not [each for each in family_then if each.is_running()]
    assert not list(open_folder.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    done = subprocess.run(
        command("--home", str(tmp_path)), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "-> a proof needs a folder of its own" in done.stderr
    assert (tmp_path / "precious").exists()


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
