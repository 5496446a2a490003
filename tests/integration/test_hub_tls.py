"""A real agent at a real RabbitMQ by the certificates of our own PKI."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import trustme

from certs.core.profile import Role
from certs.tls import ends_ms
from edge_agent.adapters.certificate import Certificate
from edge_agent.adapters.mqtt import Account, connect
from edge_agent.ports import LinkLostError
from gateway.cluster.service import enrol, revoke
from tests.integration.test_cluster_river import ingest
from tests.support.agent import Agent, Probes, killed_at_the_end
from tests.support.builders import HUB, NORTH
from tests.support.certs import Platform
from tests.support.postgres import free_port
from tests.support.rabbit_pki import rabbits_of_ours
from tests.support.rabbitmq import Rabbits
from tests.support.wait import until
from wire.clock import SystemClock
from wire.ids import HubId

pytestmark = [pytest.mark.timeout(240), pytest.mark.spec("U8")]
STORED = """
    select count(*) = $2 from sensor_readings where timestamp >= to_timestamp($1::bigint / 1e3)
"""
READINGS, SENSORS = 30, range(1, 6)
Ours = tuple[Rabbits, Platform]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    with rabbits_of_ours(tmp_path_factory.mktemp("tls") / "home") as running:
        yield running


def until_when(rabbit: Rabbits) -> set[int]:
    """Return when the certificates on the hub's connections end, Unix ms, as the broker says."""
    url = f"{rabbit.management}/api/connections"
    found = httpx2.get(url, auth=rabbit.admin, trust_env=False).raise_for_status().json()
    ends = [each["peer_cert_validity"].split(" - ")[1] for each in found if each["user"] == HUB]
    return {round(datetime.fromisoformat(each).timestamp() * 1_000) for each in ends}


async def send(agent: Agent, start_ms: int, stored: "asyncpg.Connection[Any] | None") -> int:
    """Let sensors send until the hub has committed it, and the store, too, if one is named."""
    probes = Probes(agent.port, SENSORS, start_ms)
    async with asyncio.timeout(30):
        await probes.run(READINGS)
    sent = len(probes.announced())
    if stored is not None:
        await all_stored(stored, start_ms, sent)
    return sent


async def all_stored(database: "asyncpg.Connection[Any]", start_ms: int, count: int) -> None:
    """Wait until so many readings, from that moment on, are stored."""
    await until(lambda: database.fetchval(STORED, start_ms, count), within_s=60, poll_s=0.1)


async def test_a_hub_is_at_the_cluster_by_its_certificate_through_expiry_renewal_and_revocation(
    ours: Ours, database_url: str, tmp_path: Path
) -> None:
    rabbit, platform = ours
    platform.issue(Role.HUB, HUB, days=-150)  # it has ended
    folder = platform.folder(Role.HUB, HUB)
    database = await asyncpg.connect(database_url)
    store_id = str(await database.fetchval("select store_id from store"))
    uplink = {
        "url": f"mqtts://localhost:{rabbit.nodes[0].mqtts}",
        "certificate_dir": str(folder),
    }
    agent = Agent.dialling(tmp_path / "hub", free_port(), uplink, store_id=store_id, window_s=0)
    start_ms = SystemClock().now_ms() - 3_600_000
    async with rabbit.api() as api:
        await enrol(api, NORTH, HUB)
        with killed_at_the_end(agent), ingest(rabbit, database_url):
            agent.start()
            await until(agent.listens, within_s=30)
            # Ended: the hub says what to do, and goes on taking readings.
            sent = await send(agent, start_ms, None)
            await until(lambda: "headgate certs renew" in agent.log, within_s=30)
            # Renewed: at the next attempt it is in, and nothing was lost.
            platform.issue(Role.HUB, HUB, days=-61)
            await all_stored(database, start_ms, sent)
            # Renewed again, while connected: it comes back with the new one by itself.
            new = ends_ms(platform.issue(Role.HUB, HUB, days=0))
            await until(lambda: "certificate was renewed" in agent.log, within_s=75)
            sent += await send(agent, start_ms + 1_000_000, database)
            # Revoked: the live connection ends, and the hub keeps what it takes.
            await until(lambda: until_when(rabbit) == {new}, within_s=20, poll_s=0.2)
            refused = agent.log.count("does not take our certificate")
            await revoke(api, HUB, SystemClock())
            sent += await send(agent, start_ms + 2_000_000, None)
            await until(
                lambda: agent.log.count("does not take our certificate") > refused, within_s=40
            )
            await enrol(api, NORTH, HUB)
            await all_stored(database, start_ms, sent)
            assert agent.stop() == 0
    assert await database.fetchval("select sum(samples) from sensor_readings") == sent
    await database.close()


async def refusal(rabbit: Rabbits, folder: Path, host: str = "localhost") -> str:
    account = Account(host, rabbit.nodes[0].mqtts, "hub-2.0", certificate=Certificate(folder))
    with pytest.raises(LinkLostError) as refused:
        async with connect(account, queued_max=1):
            pass
    return str(refused.value)


async def test_whoever_is_not_let_in_or_lets_not_in_is_told_what_to_do(
    ours: Ours, tmp_path: Path
) -> None:
    rabbit, platform = ours
    good = platform.issue(Role.HUB, "hub-2")
    assert "headgate cluster enrol" in await refusal(rabbit, good)  # nobody enrolled it
    async with rabbit.api() as api:
        await enrol(api, NORTH, HubId("hub-2"))
    account = Account("localhost", rabbit.nodes[0].mqtts, "hub-2.0", certificate=Certificate(good))
    async with connect(account, queued_max=1):
        pass
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    stranger = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = stranger.issue_cert("hub-2.invalid", common_name="hub-2")
    (foreign / "cert.pem").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(foreign / "key.pem"))
    (foreign / "trust.pem").write_bytes((good / "trust.pem").read_bytes())
    assert "does not take our certificate, which ends 3000-01-01T00:00:00Z" in await refusal(
        rabbit, foreign
    )
    stranger.cert_pem.write_to_path(str(foreign / "trust.pem"))
    assert "not vouched for by" in await refusal(rabbit, foreign)
    assert "not vouched for by" in await refusal(
        rabbit, good, "127.0.0.1"
    )  # it is called localhost
    (foreign / "cert.pem").write_bytes((good / "cert.pem").read_bytes())
    assert "cannot be used" in await refusal(rabbit, foreign)  # halfway through being copied
