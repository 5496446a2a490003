"""A TCP link that delays, swallows, cuts and half-opens: a bad way between two good programs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

PIECE_BYTES: Final = 65_536


@dataclass(eq=False)
class Link:
    """Forwards a port to another, well or badly. Change the fields at any time.

    Attributes:
        port: Where it listens.
        target_port: Where it forwards to, on this machine.
        delay_s: How much later each piece arrives.
        black_hole: Whether pieces are swallowed while both sides stay connected.
        refuse: Whether new connections are closed at once.
        accepted: Connections so far.
    """

    port: int
    target_port: int
    delay_s: float = 0.0
    black_hole: bool = False
    refuse: bool = False
    accepted: int = 0
    _near: set[asyncio.StreamWriter] = field(default_factory=set)
    _far: set[asyncio.StreamWriter] = field(default_factory=set)
    _deaf: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection on both sides, now."""
        for writer in self._near | self._far:
            writer.transport.abort()

    def half_open(self) -> None:
        """Break the far side of every connection: the near one hears nothing of it, nor ever again.

        New connections are good.
        """
        self._deaf |= self._near
        for writer in self._far:
            writer.transport.abort()

    async def serve(self, near: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends."""
        self.accepted += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            far, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._near.add(writer)
        self._far.add(far_writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(near, far_writer, writer), name="link-up")
                tasks.create_task(self._pump(far, writer, writer), name="link-down")
        finally:
            for writers in (self._near, self._far, self._deaf):
                writers -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, near: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                await asyncio.sleep(self.delay_s)
                if not (self.black_hole or near in self._deaf):
                    writer.write(piece)
                    await writer.drain()
        if not (self.black_hole or near in self._deaf):
            writer.transport.abort()


@asynccontextmanager
async def linked(target_port: int) -> AsyncIterator[Link]:
    """Serve a link on a free port; its connections are gone at the end."""
    async with asyncio.TaskGroup() as tasks:
        running: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = tasks.create_task(between.serve(reader, writer), name="link")
            running.add(task)
            task.add_done_callback(running.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        between = Link(server.sockets[0].getsockname()[1], target_port)
        try:
            yield between
        finally:
            server.close()
            for task in running:
                task.cancel()
