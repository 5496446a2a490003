"""The stack as processes: it comes up, comes back after every kill, and leaves nobody behind."""

import asyncio
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import aiomqtt
import asyncpg
import pytest

from headgate.stack.errors import StackError
from headgate.stack.programs import STAGES
from headgate.stack.stack import Stack
from tests.support.wait import until


async def counted(url: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT count(*) FROM sensor_readings")
    finally:
        await connection.close()


async def dies_and_returns(stack: Stack, name: str) -> None:
    killed = stack.kill(name)
    await until(lambda: stack.processes.get(name, killed) != killed)
    await until(lambda: stack.serves(name), within_s=60)
    assert stack.restarts(name) >= 1


async def test_it_serves_heals_and_leaves_nobody_behind(open_folder: Path) -> None:
    told: list[str] = []
    async with Stack(open_folder / "home", any_ports=True, tell=told.append) as stack:
        assert set(stack.processes) == {"postgres", "gateway", *STAGES}
        assert await counted(stack.database_url) == 0
        config = tomllib.loads((await stack.enrol_hub("hub-1", "north", window_s=0)).read_text())
        assert (config["hub_id"], config["window_s"]) == ("hub-1", 0)
        assert config["store_id"] == stack.facts.store_id

        async with asyncio.TaskGroup() as tasks:
            for name in list(stack.processes):
                tasks.create_task(dies_and_returns(stack, name))
        assert await counted(stack.database_url) == 0
        async with aiomqtt.Client(
            "127.0.0.1",
            stack.ports.mqtt,
            username="hub-1",
            password=Path(config["uplink"]["token_file"]).read_text().strip(),
            identifier="hub-1",
        ):
            pids = list(stack.processes.values())
        assert all(seconds > 0 for seconds in stack.cpu_seconds().values())

        with pytest.raises(StackError, match="already runs a stack"):
            async with Stack(open_folder / "home", stages=(), any_ports=True):
                pass
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert any("was killed by SIGKILL" in line for line in told)


async def test_nothing_outlives_a_killed_supervisor_and_the_next_start_recovers(
    open_folder: Path,
) -> None:
    home = open_folder / "home"
    script = (
        "import asyncio, sys; from pathlib import Path; from headgate.stack.stack import Stack\n"
        "async def main():\n"
        "    async with Stack(Path(sys.argv[1]), stages=(), any_ports=True) as stack:\n"
        "        print(*stack.processes.values(), flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(  # noqa: ASYNC220  # the kernel kills it; asyncio need not know
        [sys.executable, "-P", "-c", script, str(home)], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        said = await asyncio.to_thread(supervisor.stdout.readline)
        pids = [int(each) for each in said.split()]
        assert len(pids) == 2
        os.kill(supervisor.pid, signal.SIGKILL)
    await until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    async with Stack(home, stages=(), any_ports=True) as stack:
        assert await counted(stack.database_url) == 0
