"""What the rivals are made of, installed into a cache of its own: never beside our packages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from headgate.stack.rabbitmq import fetched, libraries

CHECKOUT: Final = Path(__file__).resolve().parents[2]
DESIGNS: Final = Path(__file__).resolve().parent / "designs"
NODE_RED: Final = ("node-red@4.1.8", "pg@8.23.1")
_WITHIN_S: Final = 900


class MissingError(Exception):
    """A rival cannot be had on this machine; says what is missing."""


def cache() -> Path:
    """Return where everything lies."""
    return fetched().parent / "rivals"


def python() -> Path:
    """Return a Python with the extra ``rivals`` as locked, installed if need be.

    Raises:
        MissingError: uv, or the registry, is not to be had.
    """
    home = cache() / "python"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv is None:
        raise MissingError("uv is not installed: type `make install`")
    _run(
        (uv, "sync", "--quiet", "--locked", "--extra", "rivals", "--no-install-project"),
        CHECKOUT,
        UV_PROJECT_ENVIRONMENT=str(home),
        UV_PYTHON=sys.executable,
    )
    return home / "bin" / "python"


def node_red() -> Path:
    """Return the ``node_modules`` that hold Node-RED and its PostgreSQL client.

    Raises:
        MissingError: npm, or the registry, is not to be had.
    """
    home = cache() / "node"
    modules = home / "node_modules"
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise MissingError("npm is not installed: install Node.js 18 or later for Node-RED")
    wanted = home / "installed"
    if not wanted.exists() or wanted.read_text() != " ".join(NODE_RED):
        home.mkdir(parents=True, exist_ok=True)
        _run((npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", *NODE_RED), home)
        wanted.write_text(" ".join(NODE_RED))
    return modules


def mosquitto() -> tuple[Path, dict[str, str]]:
    """Return mosquitto, the system's own or the fetched one, and what must be in its environment.

    Raises:
        MissingError: It is neither installed nor fetched.
    """
    for root in (Path("/"), fetched()):
        if (program := root / "usr/sbin/mosquitto").exists():
            return program, libraries(root)
    raise MissingError("mosquitto is not on this machine: type `make servers`, or install it")


def _run(argv: tuple[str, ...], cwd: Path, **environment: str) -> None:
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    if done.returncode != 0:
        raise MissingError(f"{' '.join(argv[:3])} failed: {done.stderr.strip()[-400:]}")
