"""Keeps programs running: started in order, started again after a crash, stopped in reverse."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from headgate.stack.errors import StackError
from headgate.stack.process import Process, Program, bound_log

_POLL_S: Final = 0.02
_STARTS_MAX: Final = 3  # a program that never served is given up after this many starts
_BACKOFF_S: Final = 0.1
_BACKOFF_S_MAX: Final = 5.0
_STEADY_S: Final = 10.0  # served this long: the next crash is a new one
_LOGS_EVERY_S: Final = 5.0
_TAIL_CHARS: Final = 1_500


@dataclass(slots=True)
class _Kept:
    """One program and its present process."""

    program: Program
    first_served: "asyncio.Future[None]"
    process: Process | None = None
    serves: bool = False
    restarts: int = 0
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Supervisor:
    """The one owner of every process of a stack."""

    def __init__(
        self, tell: Callable[[str], None], on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Take whom to tell what happens, and what to call when a process comes or goes."""
        self._tell = tell
        self._on_change = on_change
        self._kept: dict[str, _Kept] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._logs = self._tasks.create_task(self._bound_logs(), name="logs")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        carried = [n for n, kept in self._kept.items() if not kept.program.carries_others]
        async with asyncio.TaskGroup() as stopping:
            for name in carried:
                stopping.create_task(self.stop(name))
        for name in reversed(list(self._kept)):
            await self.stop(name)
        self._logs.cancel()
        # The body's own failure goes on as it is; a group would wrap it.
        await self._tasks.__aexit__(None, None, None)

    @property
    def processes(self) -> dict[str, int]:
        """Process id by name, of those that run just now."""
        return {
            name: kept.process.pid
            for name, kept in self._kept.items()
            if kept.process is not None and kept.process.returncode is None
        }

    def serves(self, name: str) -> bool:
        """Return whether the program's present process has become ready."""
        return self._kept[name].serves

    def restarts(self, name: str) -> int:
        """Return how many times it has been started again."""
        return self._kept[name].restarts

    async def start(self, program: Program) -> None:
        """Start a program and return once it serves; from then on it is kept running.

        Raises:
            StackError: It ended, or did not serve in time, three times in a row.
        """
        assert program.name not in self._kept, f"{program.name} is already here"
        kept = _Kept(program, asyncio.get_running_loop().create_future())
        self._kept[program.name] = kept
        kept.task = self._tasks.create_task(self._keep(kept), name=program.name)
        await asyncio.wait({kept.first_served})
        kept.first_served.result()

    async def stop(self, name: str) -> None:
        """End a program and forget it. Idempotent."""
        kept = self._kept.get(name)
        if kept is None or kept.task is None:
            return
        kept.leave.set()
        if kept.process is not None:
            await kept.process.stop()
        await asyncio.wait({kept.task})
        self._kept.pop(name, None)
        self._on_change()

    def signal(self, name: str, number: signal.Signals) -> int:
        """Signal a program's process and return its id; if it ends, it will be started again.

        Raises:
            StackError: It does not run just now.
        """
        kept = self._kept.get(name)
        if kept is None or kept.process is None or kept.process.returncode is not None:
            raise StackError(f"{name} does not run", hint="wait until it has been started again")
        kept.process.signal(number)
        return kept.process.pid

    async def _keep(self, kept: _Kept) -> None:
        """Start, wait, start again, until told to leave or given up."""
        failures = 0
        try:
            while not kept.leave.is_set():
                steady, ending = await self._live(kept)
                if kept.leave.is_set():
                    return
                failures = 0 if steady else failures + 1
                if not kept.first_served.done() and failures >= _STARTS_MAX:
                    kept.first_served.set_exception(self._gave_up(kept.program, ending))
                    return
                wait_s = min(_BACKOFF_S * 2**failures, _BACKOFF_S_MAX)
                self._tell(f"{kept.program.name} {ending}; starting it again in {wait_s:.1f} s")
                kept.restarts += 1
                await _set_within(kept.leave, wait_s)
        finally:
            if not kept.first_served.done():
                kept.first_served.cancel()

    async def _live(self, kept: _Kept) -> tuple[bool, str]:
        """Run one process to its end; return whether it served for long, and how it ended."""
        try:
            kept.process = process = Process(kept.program)
        except StackError as exc:
            return False, f"did not start: {exc}"
        self._on_change()
        in_time = await self._becomes_ready(kept, process)
        served_from = time.monotonic()
        if not in_time:
            process.signal(signal.SIGKILL)
        code = await process.exited()
        kept.serves = False
        self._on_change()
        if not in_time:
            return False, f"did not serve within {kept.program.ready_within_s:g} s"
        return time.monotonic() - served_from > _STEADY_S, _how(code)

    async def _becomes_ready(self, kept: _Kept, process: Process) -> bool:
        """Return False only if time runs out; a process that ends first is its own answer."""
        deadline = time.monotonic() + kept.program.ready_within_s
        while process.returncode is None:
            if await kept.program.is_ready(process.pid):
                kept.serves = True
                if not kept.first_served.done():
                    kept.first_served.set_result(None)
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOGS_EVERY_S)
            for kept in self._kept.values():
                bound_log(kept.program.log)

    def _gave_up(self, program: Program, ending: str) -> StackError:
        log = program.log.read_text(errors="replace") if program.log.exists() else ""
        return StackError(
            f"{program.name} {ending}\n{log[-_TAIL_CHARS:]}".rstrip(), hint=f"read {program.log}"
        )


def _how(code: int) -> str:
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    )


async def _set_within(event: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return
