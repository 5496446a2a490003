"""One thread that does one thing after another: where the spool lives."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class OwnThread:
    """``InTurn`` by a pool of one. What waits is bounded by who waits: each caller awaits."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``InTurn``."""
        loop = asyncio.get_running_loop()
        under_way = loop.run_in_executor(self._pool, partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(under_way)
        except asyncio.CancelledError:
            # It cannot be stopped, and nobody may act before its effects are there to be seen.
            await asyncio.wait([under_way])
            raise

    def close(self) -> None:
        """Finish what was begun. Blocks until then."""
        self._pool.shutdown(wait=True)
