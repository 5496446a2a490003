"""headgate.prove.link: a link does what it is told, and no more."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headgate.prove.link import Link, linked

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """Serve a port that answers every piece with itself."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1_000):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask(pair: Pair, word: bytes) -> bytes:
    reader, writer = pair
    writer.write(word)
    async with asyncio.timeout(2):
        return await reader.readexactly(len(word))


async def meet(link: Link) -> Pair:
    return await asyncio.open_connection("127.0.0.1", link.port)


async def test_a_good_link_passes_everything() -> None:
    async with echo() as port, linked(port) as link:
        pair = await meet(link)
        assert await ask(pair, b"water" * 50_000) == b"water" * 50_000
        assert link.accepted == 1
        pair[1].close()


async def test_a_cut_is_heard_and_a_refusing_link_stays_away() -> None:
    async with echo() as port, linked(port) as link:
        pair = await meet(link)
        await ask(pair, b"x")
        link.refuse = True
        link.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(pair, b"x")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await ask(await meet(link), b"x")
        link.refuse = False
        again = await meet(link)
        assert await ask(again, b"x") == b"x"
        again[1].close()


async def test_a_black_hole_swallows_without_a_word() -> None:
    async with echo() as port, linked(port) as link:
        pair = await meet(link)
        await ask(pair, b"x")
        link.black_hole = True
        pair[1].write(b"lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await pair[0].read(1)
        pair[1].close()


async def test_a_half_open_connection_hears_nothing_more_while_new_ones_are_good() -> None:
    async with echo() as port, linked(port) as link:
        pair = await meet(link)
        await ask(pair, b"x")
        link.half_open()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(pair, b"lost"), 0.3)
        assert not pair[0].at_eof()
        again = await meet(link)
        assert await ask(again, b"x") == b"x"
        for _, writer in (pair, again):
            writer.close()


async def test_a_slow_link_passes_everything_later() -> None:
    async with echo() as port, linked(port) as link:
        pair = await meet(link)
        link.delay_s = 0.2
        asked = time.monotonic()
        assert await ask(pair, b"x") == b"x"
        assert time.monotonic() - asked >= 0.4
        pair[1].close()
