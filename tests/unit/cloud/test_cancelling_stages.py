"""What is told to end ends, even when an answer, or a failure, comes at the same instant."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from cloud.adapters.mqtt import Broker, connected
from cloud.adapters.postgres.pool import translated
from tests.support.awkward import Mood, awkward
from wire.clock import SystemClock
from wire.errors import InfrastructureError

STEPS_MAX = 160

# A connect given up half way: the library leaves its socket to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Leave no such socket to the next test."""
    yield
    gc.collect()


@pytest.mark.parametrize("fails", [True, False])
async def test_a_question_cancelled_as_its_answer_comes_is_cancelled(fails: bool) -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        with translated():
            await asyncio.wait_for(answer, 10)
            if fails:
                raise OSError

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        for _ in range(3):
            await asyncio.sleep(0)
        answer.set_result(None)
        asking.cancel()
    assert asking.cancelled()


@pytest.mark.parametrize("mood", [Mood.EAGER, Mood.FICKLE])
async def test_a_stage_ends_at_whichever_step_it_is_told_to(mood: Mood) -> None:
    async with awkward(mood) as address:
        broker = Broker("127.0.0.1", address.port, "ingest", "token")
        for steps in range(0, STEPS_MAX, 3):
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                stage = group.create_task(_serve(broker))
                for _ in range(steps):
                    await asyncio.sleep(0)
                stage.cancel()
            assert stage.cancelled()
    assert address.acknowledged


async def _serve(broker: Broker) -> None:
    """Publish and fail and come back for ever, as a stage does."""
    clock = SystemClock()
    while True:
        try:
            async with connected(broker, "ingest-0", ["a/b"], clock) as mqtt:
                while True:
                    await mqtt.publish([("a/b", b"")] * 4)
        except InfrastructureError:
            await clock.sleep_ms(1)
