"""The end of a run: nothing is broken any more, and everything on its way must arrive."""

import asyncio
from collections.abc import Sequence
from typing import Final

from headgate.prove.river import Hub, waiting
from headgate.prove.witness import Witness
from headgate.stack.stack import Stack

SETTLE_WITHIN_S: Final = 120.0
_EVERY_S: Final = 0.5
_OPEN_IN_WORDS: Final = {
    "gaps": "lives of hubs with gaps",
    "unevaluated": "lives of hubs not evaluated",
    "unsettled": "findings unsettled",
}


async def settle(
    stack: Stack, hubs: Sequence[Hub], witness: Witness, *, but: Sequence[Hub] = ()
) -> list[str]:
    """Wait until nothing is on its way; return what still was when time ran out, in words.

    Args:
        stack: Where the hubs are.
        hubs: Whose disks must become empty.
        witness: Asks the store.
        but: Hubs that are shut out, and may keep what they have.

    Raises:
        StackError: A hub's disk cannot be read.
    """
    left: list[str] = ["the store does not answer"]
    try:
        async with asyncio.timeout(SETTLE_WITHIN_S):
            for hub in hubs:
                while count := await waiting(stack, hub):
                    left = [f"{count} still on the disk of {hub.name}"]
                    await asyncio.sleep(_EVERY_S)
            while True:
                if not (left := _words(await witness.still_open([hub.name for hub in but]))):
                    return []
                await asyncio.sleep(_EVERY_S)
    except TimeoutError:
        return left


def _words(still_open: dict[str, int] | None) -> list[str]:
    if still_open is None:
        return ["the store does not answer"]
    return [f"{count} {_OPEN_IN_WORDS[name]}" for name, count in still_open.items() if count]
