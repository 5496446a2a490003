"""An asyncio loop whose clock is a number: real coroutines, no waiting, the same run every time.

Tasks run in the order asyncio would run them; when all of them wait, time jumps to the next timer.
Nothing in such a run may use threads, sockets or the machine's clocks.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from wire.ids import UnixMs

T = TypeVar("T")


class _NoSockets(selectors.SelectSelector):
    """Never waits: lets the loop's clock jump over what it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits and no timer is set: the run can never end")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _NoSockets()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._virtual.now_s


class VirtualClock:
    """A ``wire.clock.Clock`` on the running virtual loop; its wall clock can be set wrong."""

    def __init__(self, start_ms: UnixMs) -> None:
        self.wall_offset_ms: int = start_ms

    def now_ms(self) -> UnixMs:
        """See ``Clock``."""
        return UnixMs(self.steady_ms() + self.wall_offset_ms)

    def steady_ms(self) -> int:
        """See ``Clock``."""
        return round(asyncio.get_running_loop().time() * 1_000)

    async def sleep_ms(self, wait_ms: int) -> None:
        """See ``Clock``."""
        await asyncio.sleep(wait_ms / 1_000)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
