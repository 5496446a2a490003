"""SQL as files: ``ledger.py`` finds its statements by name in ``ledger.sql``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_HEAD: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def statements(module: str) -> Mapping[str, str]:
    """Return name to statement of the ``.sql`` file beside ``module`` (its ``__file__``).

    Each statement begins after a line ``-- name: its_name``.
    """
    text = Path(module).with_suffix(".sql").read_text()
    parts = _HEAD.split(text)
    names, bodies = parts[1::2], [body.strip().rstrip(";") for body in parts[2::2]]
    assert len(set(names)) == len(names), f"{module} names a statement twice"
    return dict(zip(names, bodies, strict=True))
