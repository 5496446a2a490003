"""Where the gateway may listen, for as long as tokens travel in the clear."""

import ipaddress

from wire.errors import HeadgateError


class ForbiddenBindError(HeadgateError):
    """The address must not, or cannot, be listened on."""


def loopback(bind: str) -> tuple[str, int]:
    """Return the host and port of ``HOST:PORT``, an address only this machine can reach.

    Raises:
        ForbiddenBindError: It is not such an address.
    """
    host, _, port = bind.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError as exc:
        raise ForbiddenBindError(f"{bind!r}: say IP:PORT, such as 127.0.0.1:1883") from exc
    if not address.is_loopback:
        raise ForbiddenBindError(
            f"{bind!r} is reachable from other machines, and hubs have no certificates yet: "
            "only 127.0.0.1 or [::1] may be bound"
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ForbiddenBindError(f"{bind!r}: the port must be 1 to 65535")
    return str(address), int(port)
