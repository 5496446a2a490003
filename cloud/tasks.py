"""Works that go on at once, and what a task was told while it waited.

``task.cancelling()`` is trusted here, so nothing may leave it raised. Before Python 3.13 a
TaskGroup that fails while its parent is leaving it does so for good: whoever means to survive a
failure uses ``together``.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do all works at once and return when all are done; the first failure ends the others.

    Raises:
        asyncio.CancelledError: We are to end, whatever else failed.
        Exception: What failed first, as it is.
    """
    try:
        async with asyncio.TaskGroup() as group:
            # Waiting in here, not at the door, is what lets the group take its request to us back.
            await asyncio.wait([group.create_task(each) for each in works])
    except ExceptionGroup as failures:
        heed_cancellation()
        raise failures.exceptions[0] from failures


def heed_cancellation() -> None:
    """Raise what the current task was told, if it was told to end; to be called at every border.

    Before Python 3.12 ``asyncio.wait_for``, inside aiomqtt, forgets that its task was told to end
    if the answer comes as well; a failure that comes as well replaces it. The task still knows.

    Raises:
        asyncio.CancelledError: The task is to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
