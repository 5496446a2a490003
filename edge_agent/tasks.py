"""What a task was told while it waited."""

import asyncio


def heed_cancellation() -> None:
    """Raise the cancellation that something swallowed; to be called wherever a failure is survived.

    Before Python 3.12 ``asyncio.wait_for``, inside aiomqtt, forgets that its task was told to end
    if the answer comes as well. A failure that comes as well, or a failing TaskGroup, replaces a
    cancellation in every version. The task itself still knows.

    Raises:
        asyncio.CancelledError: The task is to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
