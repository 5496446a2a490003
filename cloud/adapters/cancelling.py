"""A cancellation that a library swallowed is raised again here.

Before Python 3.12 ``asyncio.wait_for``, inside aiomqtt and asyncpg, forgets that its task was told
to end if the answer comes as well; a failure that comes as well, or a failing TaskGroup, replaces
it. The task itself still knows.
"""

import asyncio


def heed_cancellation() -> None:
    """Raise what the current task was told, if it was told to end; to be called at every border.

    Raises:
        asyncio.CancelledError: The task is to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
