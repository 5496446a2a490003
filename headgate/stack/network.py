"""Ports of this machine: which are free, and which process listens or talks where."""

import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from headgate.stack.errors import StackError

_TRIES: Final = 100
_ANY: Final = range(20_000, 32_000)  # Linux lends 32768 and up to connections, at any moment
_ESTABLISHED: Final = "01"
_LISTEN: Final = "0A"


def free_port(preferred: int) -> int:
    """Return ``preferred``, or the next port of the loopback interface nobody listens on.

    Zero stands for any port; one that no outgoing connection will take meanwhile.

    Raises:
        StackError: A hundred ports in a row are taken.
    """
    first = preferred or _ANY.start + secrets.randbelow(len(_ANY))
    for port in range(first, first + _TRIES):
        with socket.socket() as probe:
            # As servers do; else connections that have just ended would look like a listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
                return port
    raise StackError(f"ports {first} to {first + _TRIES - 1} are all taken", hint="run `ss -ltnp`")


def listens(pid: int, port: int) -> bool:
    """Return whether this process itself listens on the port."""
    return any(state == _LISTEN and local == port for state, local, _ in _sockets(pid))


def talks_to(pid: int, *ports: int) -> bool:
    """Return whether this process has an open connection to each of the ports."""
    open_to = {remote for state, _, remote in _sockets(pid) if state == _ESTABLISHED}
    return open_to.issuperset(ports)


def _sockets(pid: int) -> list[tuple[str, int, int]]:
    """Return (state, local port, remote port) of the TCP sockets a process holds."""
    held = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                held.add(os.readlink(entry.path))  # noqa: PTH115  # a name, not a path
    found = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[9]}]" in held:
                    local, remote = (int(fields[n].rpartition(":")[2], 16) for n in (1, 2))
                    found.append((fields[3], local, remote))
    return found
