"""One child process on a leash: it ends when we end it, and dies when we die."""

import asyncio
import ctypes
import functools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from headgate.stack.errors import StackError

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LOG_BYTES_MAX: Final = 16 * 1024 * 1024


class Owner(NamedTuple):
    """The unprivileged account a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """Everything needed to start a process, and to know that it serves.

    Attributes:
        name: Unique within a stack.
        argv: The command, executable first.
        env: The whole environment; nothing is inherited.
        log: Where its output is appended; what no longer fits is kept once as ``.1``.
        is_ready: Whether the process with this pid serves. Must not raise and not block.
        ready_within_s: How long it may take to serve before it is killed and started again.
        prepare: Runs before every start, e.g. to remove what a crash left behind.
        owner: Whom to run as; only root can ask for this.
        stop_signal: The polite request to end.
        orphan_signal: What the kernel sends it when we die without saying goodbye.
        stop_within_s: How long it may take to end before it is killed.
        carries_others: Whether others need it until they have ended: it is stopped after them.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    is_ready: Callable[[int], Awaitable[bool]]
    ready_within_s: float = 30.0
    prepare: Callable[[], None] | None = None
    owner: Owner | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_within_s: float = 10.0
    carries_others: bool = False


class Process:
    """A started program."""

    def __init__(self, program: Program) -> None:
        """Start it. Call from the main thread: the leash is tied to the starting thread.

        Raises:
            StackError: The executable cannot be run.
        """
        if program.prepare is not None:
            program.prepare()
        self.program = program
        bound_log(program.log)
        with program.log.open("ab") as log:
            try:
                self._popen = _spawn(program, log.fileno())
            except OSError as exc:
                raise StackError(
                    f"{program.name}: cannot run {program.argv[0]}: {exc.strerror}",
                    hint="run `headgate doctor`",
                ) from exc

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """How it ended (negative: the signal), or None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; a process that has already ended is left in peace."""
        self._popen.send_signal(number)

    async def exited(self) -> int:
        """Return the exit code once the process has ended."""
        if self._popen.poll() is None:
            await _readable(os.pidfd_open(self.pid))
        return self._popen.wait()

    async def stop(self) -> int:
        """End it politely, by force after ``stop_within_s``. Idempotent."""
        self.signal(self.program.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.program.stop_within_s):
                return await self.exited()
        self.signal(signal.SIGKILL)
        return await self.exited()

    def stop_now(self) -> int:
        """Do as ``stop`` does, blocking: for callers without a loop."""
        self.signal(self.program.stop_signal)
        with suppress(subprocess.TimeoutExpired):
            return self._popen.wait(self.program.stop_within_s)
        self._popen.kill()
        return self._popen.wait()


def bound_log(path: Path) -> None:
    """Move what a log holds aside once it has grown large, under the writer's feet.

    The writer appends, so it goes on at the new end; a line written between the copy and the
    cut is lost.
    """
    if path.exists() and path.stat().st_size > _LOG_BYTES_MAX:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)


async def run_once(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    within_s: float,
    hint: str = "run `headgate doctor`",
) -> str:
    """Run a short command on the same leash and return what it printed.

    Raises:
        StackError: It failed, with ``hint`` for what to do then, or took too long.
    """
    leash = functools.partial(_leash, os.getpid(), signal.SIGKILL)
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=leash,
    )
    command = " ".join(argv[3:5])
    try:
        async with asyncio.timeout(within_s):
            said, complained = await process.communicate()
    except TimeoutError as exc:
        raise StackError(f"{command} took over {within_s:g} s", hint="try again") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise StackError(
            f"{command} failed: {complained.decode(errors='replace').strip()[-800:]}",
            hint=hint,
        )
    return said.decode()


def account(name: str) -> Owner | None:
    """Return the account of that name, if this machine has it."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _spawn(program: Program, log: int) -> "subprocess.Popen[bytes]":
    owner = program.owner
    return subprocess.Popen(
        program.argv,
        env=dict(program.env),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        start_new_session=True,  # Ctrl-C reaches us alone; we stop the others in order
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
        preexec_fn=functools.partial(_leash, os.getpid(), program.orphan_signal),
    )


def _leash(parent: int, orphan_signal: signal.Signals) -> None:
    """Ask the kernel to signal us when the parent dies. Runs in the child, after setuid."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
    if os.getppid() != parent:  # it died before the leash was on
        os._exit(1)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
