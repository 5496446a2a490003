"""Where the API may listen, for as long as nobody has to sign in."""

import ipaddress
import socket

from cloud.core.errors import OperatorError

_HINT = "set HEADGATE_API_BIND=127.0.0.1:8080"


def loopback(bind: str) -> tuple[str, int]:
    """Return the host and port of ``HOST:PORT``, an address only this machine can reach.

    Raises:
        OperatorError: It is not such an address.
    """
    host, _, port = bind.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError as exc:
        raise OperatorError(f"{bind!r} is no IP:PORT", hint=_HINT) from exc
    if not address.is_loopback:
        raise OperatorError(
            f"{bind!r} is reachable from other machines, and there is no sign-in yet: "
            "the API binds to 127.0.0.1 or [::1] only",
            hint=_HINT,
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise OperatorError(f"{bind!r}: the port must be 1 to 65535", hint=_HINT)
    return str(address), int(port)


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OperatorError: The port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as exc:
        raise OperatorError(f"cannot listen on {host}:{port}: {exc.strerror}", hint=_HINT) from exc
