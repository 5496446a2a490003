"""How a proof ends, whatever it proves: its verdict as the last line, as JSON, and a status."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from headgate.prove.account import NOTHING_LOST
from headgate.stack.errors import StackError

Tell = Callable[[str], None]


def shown(
    name: str, prove: Callable[[Path, Tell], Awaitable[dict[str, Any]]], *, as_json: bool
) -> int:
    """Prove it, print its verdict, and return 0 if all held.

    Args:
        name: The proof's, in one word.
        prove: Given an empty folder, and whom to tell what goes on; may raise ``StackError``.
        as_json: Print the last line only.
    """

    async def proved(home: Path) -> dict[str, Any]:
        return await prove(home, lambda line: None if as_json else print(line, flush=True))

    with tempfile.TemporaryDirectory(prefix=f"headgate-{name}-", ignore_cleanup_errors=True) as at:
        try:
            found = asyncio.run(proved(Path(at)))
        except StackError as exc:
            sys.stderr.write(f"{name}: {exc.args[0]}\n  -> {exc.hint}\n")
            found = {"verdict": f"no verdict: {exc.args[0]}"}
    print(json.dumps(found))
    return 0 if found["verdict"] == NOTHING_LOST else 1
