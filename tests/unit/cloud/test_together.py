"""Works that go on at once: what fails is heard, and leaves no trace on whoever survives it."""

import asyncio

import pytest

from cloud.steps import Steps
from cloud.tasks import heed_cancellation, together
from tests.support.wait import until
from wire.clock import SystemClock
from wire.errors import InfrastructureError


async def fail() -> None:
    await asyncio.sleep(0)
    raise InfrastructureError("away")


async def last_forever(ended: list[str] | None = None) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        if ended is not None:
            ended.append("ended")


async def test_the_first_failure_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []
    with pytest.raises(InfrastructureError, match="away"):
        await together(last_forever(ended), fail(), fail())
    assert ended == ["ended"]


async def test_who_survives_a_failure_is_not_taken_for_cancelled() -> None:
    for _ in range(3):
        with pytest.raises(InfrastructureError):
            await together(last_forever(), fail())
        heed_cancellation()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_is_told_to_end_ends_even_if_a_work_fails_for_it() -> None:
    async def fail_when_ended() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise InfrastructureError("broke") from None

    async with asyncio.TaskGroup() as group:
        task = group.create_task(together(fail_when_ended(), last_forever()))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()


async def test_all_works_are_done_before_it_returns() -> None:
    done: list[int] = []

    async def note(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
        done.append(number)

    await together(note(2), note(0), note(1))
    assert done == [0, 1, 2]


async def test_a_step_is_taken_again_until_it_is_done_and_known_while_it_lasts() -> None:
    steps, tries, held = Steps(SystemClock()), 0, asyncio.Event()

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise InfrastructureError("away")
        await held.wait()
        return tries

    async with asyncio.TaskGroup() as group:
        task = group.create_task(steps.done("step", step))
        await until(lambda: steps.under_way_ms > 10)
        held.set()
    assert (task.result(), steps.under_way_ms) == (3, 0)
