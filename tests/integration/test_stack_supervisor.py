"""headgate.stack.supervisor over real processes: order, return, patience, and an end to all."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.stack.errors import StackError
from headgate.stack.process import Program, bound_log
from headgate.stack.supervisor import Supervisor
from tests.support.wait import until


def a_program(folder: Path, code: str, *, name: str = "p", ready_within_s: float = 5.0) -> Program:
    """Return Python code as a program, ready once it has made the file ``NAME.ready``."""
    sign = folder / f"{name}.ready"

    async def ready(pid: int) -> bool:
        return sign.exists() and sign.read_text() == str(pid)

    start = f"import os, signal, time; open({str(sign)!r}, 'w').write(str(os.getpid()))\n"
    return Program(
        name=name,
        argv=(sys.executable, "-S", "-c", code.replace("READY", start)),
        env={},
        log=folder / f"{name}.log",
        is_ready=ready,
        ready_within_s=ready_within_s,
        stop_within_s=1.0,
    )


async def test_a_killed_program_returns(tmp_path: Path) -> None:
    async with Supervisor(lambda line: None) as supervisor:
        await supervisor.start(a_program(tmp_path, "READY\ntime.sleep(60)"))
        first = supervisor.signal("p", signal.SIGKILL)
        await until(lambda: supervisor.processes.get("p", first) != first)
        await until(lambda: supervisor.serves("p"))
        assert supervisor.restarts("p") == 1
    assert supervisor.processes == {}


async def test_a_program_that_never_serves_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    async with Supervisor(lambda line: None) as supervisor:
        with pytest.raises(StackError, match=r"(?s)ended with status 3.*out of order"):
            await supervisor.start(
                a_program(tmp_path, "print('out of order', flush=True); raise SystemExit(3)")
            )
    starts = (tmp_path / "p.log").read_text().count("out of order")
    assert starts == 3


async def test_a_program_that_hangs_before_it_serves_is_killed(tmp_path: Path) -> None:
    slow = a_program(tmp_path, "import time; time.sleep(60)", ready_within_s=0.2)
    async with Supervisor(lambda line: None) as supervisor:
        with pytest.raises(StackError, match=r"did not serve within 0\.2 s"):
            await supervisor.start(slow)


async def test_one_that_ignores_sigterm_is_killed_at_the_deadline(tmp_path: Path) -> None:
    deaf = a_program(
        tmp_path, "import signal; signal.signal(15, signal.SIG_IGN)\nREADY\ntime.sleep(60)"
    )
    async with Supervisor(lambda line: None) as supervisor:
        await supervisor.start(deaf)
        pid = supervisor.processes["p"]
        async with asyncio.timeout(5):
            await supervisor.stop("p")
    assert not Path(f"/proc/{pid}").exists()


async def test_a_failure_of_the_body_stops_everything_and_stays_itself(tmp_path: Path) -> None:
    pid = 0
    with pytest.raises(ValueError, match="body"):  # noqa: PT012  # the law is about the whole block
        async with Supervisor(lambda line: None) as supervisor:
            await supervisor.start(a_program(tmp_path, "READY\ntime.sleep(60)"))
            pid = supervisor.processes["p"]
            raise ValueError("body")
    assert pid
    assert not Path(f"/proc/{pid}").exists()


async def test_a_missing_executable_says_so(tmp_path: Path) -> None:
    async def never(pid: int) -> bool:
        return False

    lost = Program("lost", ("/no/such/program",), {}, tmp_path / "log", never)
    async with Supervisor(lambda line: None) as supervisor:
        with pytest.raises(StackError, match="cannot run /no/such/program"):
            await supervisor.start(lost)


async def test_how_it_died_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    async with Supervisor(told.append) as supervisor:
        await supervisor.start(a_program(tmp_path, "READY\ntime.sleep(60)"))
        os.kill(supervisor.processes["p"], signal.SIGSEGV)
        await until(lambda: any(signal.SIGSEGV.name in line for line in told))


def test_a_log_is_bounded_under_its_writers_feet(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(bytes(17 * 1024 * 1024))
        bound_log(log)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "log.1").stat().st_size == 17 * 1024 * 1024


async def test_what_carries_others_ends_after_them_and_in_reverse(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    code = (
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(ended)!r}, 'a').write(NAME + ' '),"
        " os._exit(0)))\nREADY\ntime.sleep(60)"
    )
    names = {"ground": True, "floor": True, "one": False, "two": False}
    async with Supervisor(lambda line: None) as supervisor:
        for name, carries in names.items():
            program = a_program(tmp_path, f"import signal, os; NAME = {name!r}\n{code}", name=name)
            await supervisor.start(replace(program, carries_others=carries))
    *carried, floor, ground = ended.read_text().split()
    assert sorted(carried) == ["one", "two"]
    assert (floor, ground) == ("floor", "ground")
