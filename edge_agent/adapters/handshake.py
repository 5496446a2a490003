"""A TLS handshake that takes as long as it is given, and ends when it is given up."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial


class Handshake:
    """One handshake. It blocks a thread of the client library's, which nothing else would free.

    The library itself would end it after 5 s: too soon where a thousand hubs come at once.
    """

    def __init__(self, within_s: float) -> None:
        """Take how long the peer may be silent in it."""
        self._within_s = within_s
        self._is_given_up = False
        self._socket: ssl.SSLSocket | None = None

    def give_up(self) -> None:
        """End it, or do not let it begin. Idempotent; from any thread; no harm once it is done."""
        self._is_given_up = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def sockets(self, kind: type[ssl.SSLSocket]) -> type[ssl.SSLSocket]:
        """Return sockets of a kind whose handshake this is."""
        shake = self._shake

        class Shaken(kind):  # type: ignore[valid-type, misc]
            def do_handshake(self, block: bool = False) -> None:
                shake(self, partial(super().do_handshake, block))

        return Shaken

    def _shake(self, dialled: ssl.SSLSocket, begin: Callable[[], None]) -> None:
        self._socket = dialled  # first: whoever gives up from now on ends it
        if self._is_given_up:
            dialled.close()
            raise ConnectionAbortedError("given up")
        dialled.settimeout(self._within_s)
        begin()
