"""Wait for a condition with a deadline, never for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]], *, within_s: float = 30.0, poll_s: float = 0.01
) -> T:
    """Return the first truthy answer of ``condition``.

    Raises:
        AssertionError: The deadline passed first; it carries the last answer.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within_s} s; last answer {answer!r}"
        await asyncio.sleep(poll_s)
