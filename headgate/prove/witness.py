"""Asks the store what it has, while the store is being killed."""

import asyncio
import json
from collections.abc import Collection
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

import asyncpg

from headgate.prove.heal import Seen

LOOK_EVERY_S: Final = 0.1
_ASK_WITHIN_S: Final = 3.0
_AWAY: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # half an answer, when the server dies in the middle of it
    OSError,
    TimeoutError,
)


class Witness:
    """One connection to the store, opened again whenever it breaks."""

    def __init__(self, database_url: str) -> None:
        """Take the address; nothing is asked yet."""
        self._url = database_url
        self._connection: asyncpg.Connection | None = None
        self._news = asyncio.Condition()
        self.seen = Seen(at_ms=0)

    async def watch(self) -> None:
        """Look again and again, until cancelled; whoever waits for ``news`` is told."""
        while True:
            if seen := await self.look():
                async with self._news:
                    self.seen = seen
                    self._news.notify_all()
            await asyncio.sleep(LOOK_EVERY_S)

    async def news(self) -> Seen:
        """Return what the next look shows."""
        async with self._news:
            await self._news.wait()
            return self.seen

    async def still_open(self, but: Collection[str] = ()) -> dict[str, int] | None:
        """Return how many things are still on their way, by name; None if nobody answers.

        Args:
            but: Hubs that are away and known to be.
        """
        row = await self._ask("open", list(but))
        return None if row is None else dict(row)

    async def look(self) -> Seen | None:
        """Return what the store shows just now; None if nobody answers."""
        row = await self._ask("seen")
        if row is None:
            return None
        received_ms, born_ms = json.loads(row["received_ms"]), json.loads(row["born_ms"])
        return Seen(row["at_ms"], received_ms, born_ms, row["evaluated_ms"], row["unsettled_ms"])

    async def stored_ms(self, began_ms: int) -> dict[str, list[int]]:
        """Return hub to when batches of it were newly stored, its sensors' beginning first.

        Nothing, if nobody answers.
        """
        row = await self._ask("stored")
        commits = {} if row is None else json.loads(row["stored_ms"])
        return {hub: [began_ms, *times] for hub, times in commits.items()}

    def leave(self) -> None:
        """Let go of the connection. Idempotent."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _ask(self, question: str, *arguments: object) -> Any:
        with suppress(*_AWAY):
            async with asyncio.timeout(_ASK_WITHIN_S):
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._url)
                return await self._connection.fetchrow(_SQL[question], *arguments)
        self.leave()
        return None


def _questions(text: str) -> dict[str, str]:
    parts = text.split("-- name: ")[1:]
    return {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1] for part in parts}


_SQL: Final = _questions((files("headgate.prove") / "witness.sql").read_text())
