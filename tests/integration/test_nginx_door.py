"""The shipped NGINX in front of two doors: who a device is, and how fast it may speak."""

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from certs.core.names import role_of
from certs.core.profile import Role
from tests.integration.test_http_door import STORE, Stand, broker, stand  # noqa: F401
from tests.support.certs import Platform
from tests.support.gateway import Gateway
from tests.support.http_door import DATA, http_door
from tests.support.nginx import nginx
from tests.support.wait import until
from wire.clock import SystemClock
from wire.limits import SENSOR_BURST, SENSOR_RATE_PER_S

DEVICE_HEADER = "X-Headgate-Device"
FLOOD_MS = 4_000


@dataclass(frozen=True)
class Front:
    """The shield, and who may come to it."""

    url: str
    platform: Platform

    def client(self, name: str | None) -> httpx2.AsyncClient:
        """Return a client with the certificate of that name, or none."""
        identity = self.platform.issue(role_of(name) or Role.HUB, name) if name else None
        context: ssl.SSLContext = self.platform.dial(identity)
        return httpx2.AsyncClient(base_url=self.url, verify=context, timeout=10, trust_env=False)


@asynccontextmanager
async def front(broker: Gateway, folder: Path) -> AsyncIterator[Front]:  # noqa: F811
    platform = Platform(folder / "home")
    platform.home.mkdir()
    platform.found()
    told = {"HEADGATE_DEVICE_HEADER": DEVICE_HEADER}
    with http_door(broker, STORE, 0, **told) as one, http_door(broker, STORE, 1, **told) as other:
        await one.ready()
        await other.ready()
        with nginx(platform, [door.url.removeprefix("http://") for door in (one, other)]) as url:
            found = Front(url, platform)
            async with found.client("sensor-999") as client:
                open_now: bool = await until(lambda: _answers(client))
            assert open_now
            yield found


async def _answers(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/")).status_code == 404
    except httpx2.TransportError:
        return False


async def _flood(site: Front, name: str, sensor: int, seen: Counter[int]) -> float:
    """Speak as fast as one can, varying all that can be varied; return for how many seconds."""
    clock, numbers = SystemClock(), itertools.count()
    began = clock.steady_ms()

    async def speak(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            if clock.steady_ms() - began > FLOOD_MS:
                return
            answer = await client.post(
                DATA,
                params={"n": number},
                json={"sensor_id": sensor if number % 3 else sensor + number, "pH": 7},
                headers={
                    DEVICE_HEADER: f"sensor-{number}",
                    "X_Headgate_Device": f"sensor-{number}",
                    "X-Forwarded-For": f"10.0.0.{number % 250}",
                    "Host": f"h{number}.example",
                    "Idempotency-Key": str(number),
                },
            )
            seen[answer.status_code] += 1
            if answer.status_code == 429:
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == 429

    async with (
        site.client(name) as one,
        site.client(name) as other,
        asyncio.TaskGroup() as speaking,
    ):
        for client in (one, other, one, other):
            speaking.create_task(speak(client))
    return (clock.steady_ms() - began) / 1_000


@pytest.mark.spec("I5", "I6", "I7")
async def test_a_device_gets_its_rate_and_no_more_whatever_it_varies(
    broker: Gateway,  # noqa: F811
    stand: Stand,  # noqa: F811
    tmp_path: Path,
) -> None:
    async with front(broker, tmp_path) as site:
        seen: Counter[int] = Counter()
        took_s = await _flood(site, "sensor-5", 5, seen)
        allowed = SENSOR_BURST + SENSOR_RATE_PER_S * took_s
        assert seen.keys() <= {202, 403, 429}
        assert seen[202] + seen[403] <= 1.01 * allowed, seen
        assert seen[202] >= 1, seen
        assert seen[429] > 10 * allowed, "the flood was no flood"
        # Somebody else is not held up by it, and two readings in one message are two.
        async with site.client("sensor-6") as client:
            two = [{"sensor_id": 6, "pH": 7}, {"sensor_id": 6, "pH": 7.5}]
            assert (await client.post(DATA, json=two)).status_code == 202
            again = await client.post(DATA, json={"sensor_id": 6, "pH": 7})
            assert (again.status_code, again.headers["retry-after"]) == (429, "1")


@pytest.mark.spec("I5", "U8")
async def test_only_a_sensors_own_certificate_speaks_for_it(
    broker: Gateway,  # noqa: F811
    stand: Stand,  # noqa: F811
    tmp_path: Path,
) -> None:
    async with front(broker, tmp_path) as site:
        reading = {"sensor_id": 5, "pH": 7}
        for name, status in (("sensor-6", 403), ("hub-5", 403), ("sensor-05", 403), (None, 400)):
            async with site.client(name) as client:
                refused = await client.post(DATA, json=reading, headers={DEVICE_HEADER: "sensor-5"})
                assert refused.status_code == status, name
                assert refused.headers["content-type"] == "application/problem+json"
        async with site.client("sensor-5") as client:
            assert (await client.post(DATA, json=reading)).status_code == 202
            long = await client.post(
                DATA, content=b" " * 65_537, headers={"content-type": "application/json"}
            )
            assert (long.status_code, long.json()["status"]) == (413, 413)
