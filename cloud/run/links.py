"""How every stage keeps at its neighbours: it serves, and serves again when one was away."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NoReturn

import structlog

from cloud.adapters.postgres.pool import Pool, translated
from cloud.steps import PATIENT, Steps, worth_a_word
from wire.clock import Clock
from wire.errors import InfrastructureError

STEADY_AFTER_MS: Final = 10_000
BEAT_EVERY_MS: Final = 2_000
STUCK_AFTER_MS: Final = 10_000
_log = structlog.get_logger(__name__)


async def keep_serving(
    name: str, serve: Callable[[], Awaitable[None]], clock: Clock, chance: Callable[[], float]
) -> NoReturn:
    """Serve until cancelled; after every failure of a neighbour wait a little and begin again."""
    tries = 0
    while True:
        began_ms = clock.steady_ms()
        try:
            await serve()
        except InfrastructureError as exc:
            steady = clock.steady_ms() - began_ms >= STEADY_AFTER_MS
            tries = 1 if steady else tries + 1
            if worth_a_word(tries):
                _log.warning("neighbour away", who=name, why=str(exc), tries=tries)
        await clock.sleep_ms(PATIENT.wait_ms(max(tries, 1), chance()) or PATIENT.wait_ms_max)


async def beat(pool: Pool, clock: Clock, steps: Steps) -> NoReturn:
    """Let the store see that this stage moves; one that is at a single step for long is silent.

    ``/api/status`` reads it from the age of the last word on a connection of the stage's name.
    """
    while True:
        if steps.under_way_ms < STUCK_AFTER_MS:
            await Steps(clock).done("beat", partial(_speak, pool))
        await clock.sleep_ms(BEAT_EVERY_MS)


async def _speak(pool: Pool) -> None:
    with translated():
        await pool.execute("select 1")
