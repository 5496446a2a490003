"""Alerts pushed over a real WebSocket, as real transactions commit."""

import asyncio
import json
from typing import Any

import pytest
import websockets
from httpx2 import AsyncClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from cloud.api import shapes
from tests.support.api import (
    add_sensor,
    connected,
    open_alert,
    resolve_alert,
    running_api,
)
from tests.support.wait import until


def address(api: AsyncClient) -> str:
    return f"ws://{api.base_url.host}:{api.base_url.port}/api/ws/alerts"


async def hear(socket: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await socket.recv())


@pytest.mark.spec("E10", "N1")
async def test_a_client_sees_what_is_open_then_each_change(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 5)
        first = await open_alert(database, 5)
        async with connect(address(api)) as socket:
            snapshot = await hear(socket)
            assert snapshot["type"] == "snapshot"
            assert [alert["alert_id"] for alert in snapshot["alerts"]] == [str(first)]
            second = await open_alert(database, 5, cause="lead_high")
            await resolve_alert(database, second)
            states = []
            while "resolved" not in states:
                message = await hear(socket)
                alert = shapes.Alert.model_validate(message["alert"])
                if alert.alert_id == str(second):
                    states.append(alert.state)
            assert states in (["open", "resolved"], ["resolved"])


async def test_an_alert_that_is_rolled_back_is_never_told(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 5)
        async with connect(address(api)) as socket:
            await hear(socket)
            undone = database.transaction()
            await undone.start()
            lost = await open_alert(database, 5)
            await undone.rollback()
            kept = await open_alert(database, 5)
            assert (await hear(socket))["alert"]["alert_id"] == str(kept) != str(lost)


async def test_what_committed_while_nobody_listened_is_told_afterwards(database_url: str) -> None:
    async with connected(database_url) as database, running_api(database_url) as api:
        await add_sensor(database, 5)
        async with connect(address(api)) as socket:
            await hear(socket)
            listening = (
                "select pid from pg_stat_activity where application_name = 'headgate-api-listen'"
            )
            await until(lambda: database.fetchval(listening))
            async with database.transaction():
                await database.execute(f"select pg_terminate_backend(({listening}))")
                missed = await open_alert(database, 5, silently=True)
            assert (await hear(socket))["alert"]["alert_id"] == str(missed)


async def test_pages_of_other_sites_get_no_socket(database_url: str) -> None:
    async with running_api(database_url) as api:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}):
            with pytest.raises(InvalidStatus) as refused:
                await connect(address(api), additional_headers=headers)
            assert refused.value.response.status_code == 403
        async with connect(address(api), additional_headers={"Origin": "http://localhost:5173"}):
            pass


async def test_a_talkative_client_is_cut_off(database_url: str) -> None:
    async with running_api(database_url) as api, connect(address(api)) as socket:
        await hear(socket)
        await socket.send("x" * 5_000)
        with pytest.raises(websockets.ConnectionClosed):
            await hear(socket)
