"""tests.support.virtual_time: hours pass in an instant, and always the same way."""

import asyncio

import pytest

from tests.support.virtual_time import VirtualClock, run
from wire.ids import UnixMs


def test_time_passes_only_by_waiting_and_exactly() -> None:
    async def main() -> tuple[int, int]:
        clock = VirtualClock(UnixMs(1_000_000))
        await clock.sleep_ms(3_600_000)
        return clock.steady_ms(), clock.now_ms()

    assert run(main()) == (3_600_000, 4_600_000)


def test_deadlines_hold_in_virtual_time() -> None:
    async def main() -> None:
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        run(main())


def test_waiting_for_nothing_is_an_error_not_a_hang() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="never end"):
        run(main())
