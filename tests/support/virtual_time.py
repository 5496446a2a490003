"""An asyncio loop whose clock is a number: real coroutines, no waiting, the same run every time.

Tasks run in the order asyncio would run them; when all of them wait, time jumps to the next timer.
Nothing in such a run may use threads, sockets or the machine's clocks.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from wire.ids import UnixMs

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_RESOLUTION_S = 1e-9
"""Timers no further apart fire together: sums of floats seldom meet exactly."""


class _Call(asyncio.TimerHandle):
    """What is to be called at its time; nothing once it is cancelled."""

    __slots__ = ("args", "at_s", "context", "what")

    def __init__(
        self,
        at_s: float,
        what: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        self.at_s, self.args = at_s, args
        self.what: Callable[..., object] | None = what
        self.context = copy_context() if context is None else context

    def __lt__(self, other: "_Call") -> bool:  # type: ignore[override]
        return self.at_s < other.at_s

    def __repr__(self) -> str:
        return f"<{self.what} at {self.at_s}>"

    def when(self) -> float:
        return self.at_s

    def cancel(self) -> None:
        self.what = None

    def cancelled(self) -> bool:
        return self.what is None


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. Nothing is watched for input, and no call is watched in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._soon: deque[_Call] = deque()
        self._timers: list[_Call] = []

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See ``asyncio.AbstractEventLoop``."""
        call = _Call(self._now_s, callback, args, context)
        self._soon.append(call)
        return call

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See ``asyncio.AbstractEventLoop``."""
        call = _Call(when, callback, args, context)
        heappush(self._timers, call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See ``asyncio.AbstractEventLoop``."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """Make the calls that are due; if none is, at the time of the next."""
        timers, soon = self._timers, self._soon
        while timers and timers[0].what is None:
            heappop(timers)
        if not soon:
            if not timers:
                raise RuntimeError("every task waits and no timer is set: the run can never end")
            self._now_s += max(0.0, timers[0].at_s - self._now_s)
        due_s = self._now_s + _RESOLUTION_S
        while timers and timers[0].at_s < due_s:
            soon.append(heappop(timers))
        for _ in range(len(soon)):
            call = soon.popleft()
            if call.what is not None:
                call.context.run(call.what, *call.args)

    def _write_to_self(self) -> None:
        """Wake a loop that waits for input: this one never does."""


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
