"""``headgate up`` with its HTTP door: a POST on one side, the reading on the other."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from headgate.doctor import State, examine
from headgate.stack.stack import Stack
from tests.support.http_door import DATA, READING
from tests.support.wait import until


@pytest.mark.spec("E1", "E2")
async def test_what_is_posted_is_read_back_and_doctor_sees_the_door(open_folder: Path) -> None:
    stages = ("ingest", "api", "http")
    async with Stack(open_folder / "home", stages=stages, any_ports=True) as stack:
        assert "http" in stack.processes
        async with httpx2.AsyncClient(timeout=10, trust_env=False) as client:
            door = f"http://127.0.0.1:{stack.ports.http}"
            answer = await client.post(f"{door}{DATA}", json=READING)
            assert (answer.status_code, answer.json()["status"]) == (202, "success")
            latest = await client.get(
                f"{stack.api_url}/api/sensors/latest", params={"sensor_id": "123"}
            )
            assert (latest.json()["pH"], latest.json()["temp"]) == (7.2, 15.4)
            checks = await asyncio.to_thread(examine, stack.home)
            assert ("http door", State.GOOD) in {(each.name, each.state) for each in checks}
            stack.kill("gateway")  # the broker returns, and the door finds its way again
            again = {"sensor_id": "124", "pH": 7.0}

            async def taken() -> bool:
                return (await client.post(f"{door}{DATA}", json=again)).status_code == 202

            back: bool = await until(taken, within_s=60, poll_s=0.5)
            assert back
