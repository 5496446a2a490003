"""One law for every program's link: a broker that hangs up before it answers is known at once."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from cloud.adapters.mqtt import Broker, connected
from edge_agent.adapters.mqtt import Account, connect
from edge_agent.ports import LinkLostError
from firmware_sim.adapters.mqtt import Address, MqttBroker
from wire.clock import SystemClock
from wire.errors import InfrastructureError

AT_ONCE_S = 2.0  # every program's own patience is 5 s or more


async def a_stage(port: int) -> None:
    async with connected(Broker("127.0.0.1", port, "n", "t"), "n", [], SystemClock()):
        pass


async def a_hub(port: int) -> None:
    async with connect(Account("127.0.0.1", port, "n"), queued_max=1):
        pass


async def a_simulator(port: int) -> None:
    async with MqttBroker(Address("127.0.0.1", port), "n").session(()):
        pass


@asynccontextmanager
async def rude(*, reset: bool, hears: int) -> AsyncIterator[int]:
    """Lend the port of a broker that hangs up after so many bytes, with a reset or in order."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(hears)
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("hears", [0, 2])
@pytest.mark.parametrize("link", [a_stage, a_hub, a_simulator])
async def test_a_broker_that_hangs_up_before_it_answers_costs_no_patience(
    link: Callable[[int], Awaitable[None]], reset: bool, hears: int
) -> None:
    async with rude(reset=reset, hears=hears) as port:
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises((InfrastructureError, LinkLostError)):
                await link(port)
            assert time.monotonic() - began < AT_ONCE_S
