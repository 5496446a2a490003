"""headgate.stack.network: a port that is found free stays free."""

import socket
from pathlib import Path

from headgate.stack.network import free_port


def lent_to_connections() -> range:
    """Return the ports the kernel may give to any outgoing connection at any moment."""
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return range(int(low), int(high) + 1)


def test_any_port_is_one_that_no_outgoing_connection_takes_meanwhile() -> None:
    lent = lent_to_connections() if lent_to_connections().start >= 32_768 else range(0)
    found = {free_port(0) for _ in range(200)}
    assert len(found) > 100
    assert not [port for port in found if port in lent or port < 1024]


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        wanted = free_port(0)
        taken.bind(("127.0.0.1", wanted))
        taken.listen()
        assert free_port(wanted) > wanted
    assert free_port(wanted) == wanted
