"""The servers tests start: the system's own, else Debian's packages unpacked without root.

``python -m tests.support.servers`` (``make servers``) fetches what is missing into
``~/.cache/headgate/servers``. Nothing is installed, no service starts, no file of the system
changes.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.stack.rabbitmq import Binaries, fetched, libraries

# Debian's package, and the program in it that a system may have already.
PROGRAMS: Final = {
    "rabbitmq-server": "usr/lib/rabbitmq/bin/rabbitmq-server",
    "mosquitto": "usr/sbin/mosquitto",
    "redis-server": "usr/bin/redis-server",
    "nginx": "usr/sbin/nginx",
}
_WITHIN_S: Final = 300


class MissingServerError(Exception):
    """A server that is not on this machine and could not be fetched."""


@dataclass(frozen=True, slots=True)
class Server:
    """A program and the environment it runs in.

    Attributes:
        root: ``/``, or the folder the packages are unpacked in.
        program: The executable.
        env: What must be added to the environment.
    """

    root: Path
    program: Path
    env: dict[str, str]


def server(package: str) -> Server:
    """Return the program of one of ``PROGRAMS``.

    Where it is missing the test skips; where CI is set it fails, for CI can fetch it.
    """
    for root in (Path("/"), fetched()):
        program = root / PROGRAMS[package]
        if program.exists():
            return Server(root, program, libraries(root))
    import pytest  # fetching needs nothing but the standard library

    reason = f"{package} is not on this machine: type `make servers`, or install {package}"
    raise (pytest.fail if os.environ.get("CI") else pytest.skip).Exception(reason)


def rabbitmq() -> Binaries:
    """Return RabbitMQ as ``server`` does."""
    return Binaries(server("rabbitmq-server").root)


def fetch(folder: Path) -> None:
    """Unpack whatever of ``PROGRAMS`` neither the system nor ``folder`` has. Idempotent.

    Raises:
        MissingServerError: This is no Debian, or its archive cannot be reached.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent / "servers.lock"):
        if not _missing(folder):
            return
        wanted = [package for package in PROGRAMS if not Path("/", PROGRAMS[package]).exists()]
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="servers-") as scratch:
            root = Path(scratch, "root")
            for archive in _download(Path(scratch), wanted):
                _run("dpkg-deb", "--extract", str(archive), str(root))
            _let_erlang_move(root, folder)
            if folder.exists():
                shutil.rmtree(folder)
            root.rename(folder)
        if lacking := _missing(folder):
            raise MissingServerError(f"fetched, and still missing: {', '.join(lacking)}")


def _missing(folder: Path) -> list[str]:
    return [
        package
        for package, program in PROGRAMS.items()
        if not (Path("/", program).exists() or (folder / program).exists())
    ]


def _download(scratch: Path, packages: list[str]) -> list[Path]:
    """Return the archives of the packages and of what they need that the system has not."""
    state, cache = scratch / "state", scratch / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    options = (
        f"Dir::State={state}",
        "Dir::State::status=/var/lib/dpkg/status",
        f"Dir::Cache={cache}",
        "APT::Sandbox::User=root",  # else root's downloads are handed to an account shut out here
        "APT::Install-Recommends=false",
        "Debug::NoLocking=true",
    )
    apt = ("apt-get", "--quiet", *(part for option in options for part in ("-o", option)))
    _run(*apt, "update", must=False)  # a stranger's broken source need not stop us
    _run(*apt, "install", "--yes", "--download-only", *packages)
    return sorted((cache / "archives").glob("*.deb"))


def _let_erlang_move(root: Path, target: Path) -> None:
    """Tell the start script of Erlang where it will lie; it knows one place only."""
    script = root / "usr/lib/erlang/bin/erl"
    if script.exists():
        text = script.read_text()
        script.write_text(text.replace("=/usr/lib/erlang\n", f"={target}/usr/lib/erlang\n"))


def _run(*argv: str, must: bool = True) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise MissingServerError(f"{argv[0]}: {exc}") from exc
    if must and done.returncode != 0:
        raise MissingServerError(f"{argv[0]}: {done.stderr.strip()[-800:]}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Fetch what is missing; where that cannot be, say so, and fail only under CI."""
    try:
        fetch(fetched())
    except MissingServerError as exc:
        sys.stderr.write(f"{exc}\nTests that need {', '.join(_missing(fetched()))} will skip.\n")
        sys.exit(bool(os.environ.get("CI")))


if __name__ == "__main__":
    main()
