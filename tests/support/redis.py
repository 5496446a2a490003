"""A real Redis for tests: one process on a free port, keeping nothing."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.postgres import free_port
from tests.support.servers import server


@dataclass(frozen=True)
class RedisServer:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    url: str


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start a server; it is gone at the end, with all it knew."""
    found, port = server("redis-server"), free_port()
    with tempfile.TemporaryDirectory(prefix="headgate-redis-") as folder:
        process = subprocess.Popen(
            [found.program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
            cwd=folder,
            env={**os.environ, **found.env},
            stdout=subprocess.DEVNULL,
        )
        try:
            yield RedisServer(process, f"redis://127.0.0.1:{port}/0")
        finally:
            process.kill()
            process.wait(10)
