"""A bench that is told to end takes away what it has made."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import until


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a place for temporary files which the owner of PostgreSQL may enter."""
    made = Path(tempfile.mkdtemp(prefix="headgate-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


async def test_a_bench_told_to_end_leaves_no_folder_and_no_process(folder: Path) -> None:
    bench = _begin(folder)
    try:
        await until(lambda: any(folder.glob("headgate-bench-*/*")), within_s=60)
        bench.terminate()
        assert bench.wait(60) == 128 + signal.SIGTERM
    finally:
        bench.kill()
        bench.wait()
    assert list(folder.iterdir()) == []
    assert not _who_mentions(folder)


def _begin(folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "headgate.cli", "bench", "hub", "--quick"],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _who_mentions(folder: Path) -> list[str]:
    """Return command lines of processes that name a folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = each.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if str(folder).encode() in said:
            found.append(said.decode())
    return found
