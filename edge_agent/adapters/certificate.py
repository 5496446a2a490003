"""The hub's certificate as it lies on disk: shown anew at every connection, watched in between."""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from certs.tls import client_context, ends_ms
from edge_agent.adapters.handshake import Handshake
from edge_agent.ports import LinkLostError

_FILES: Final = ("cert.pem", "key.pem", "trust.pem")
_ABOUT_US: Final = re.compile("ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|DECRYPT_ERROR)")

log = structlog.get_logger()


class _Socket(ssl.SSLSocket):
    """A socket the client library may forget when its handshake fails, or is answered later.

    Attributes:
        refusal: What the broker said of the handshake once it was over for us, as TLS 1.3 has it.
    """

    refusal: str | None = None

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as exc:
            self.refusal = exc.reason
            raise


def is_about_us(alert: str | None) -> bool:
    """Return whether a reason of OpenSSL's is the broker's word that it takes us for nobody."""
    return alert is not None and _ABOUT_US.search(alert) is not None


class Certificate:
    """A folder with ``cert.pem``, ``key.pem`` and ``trust.pem``, which others renew."""

    def __init__(self, folder: Path) -> None:
        """Take where it lies; nothing is read yet."""
        self._folder = folder
        self._shown: object = None

    def __repr__(self) -> str:
        """Show where it is and until when it holds."""
        return f"<Certificate in {self._folder}, which ends {self._end()}>"

    def context(self, handshake: Handshake) -> ssl.SSLContext:
        """Return what to dial the broker with once, from the files as they are.

        Args:
            handshake: Lets the caller end the handshake.

        Raises:
            LinkLostError: They are no certificate, key and trust that go together.
        """
        try:
            self._shown = self._mark()  # first: what changes while we read counts as changed
            context = self._read()
        except OSError as exc:
            raise LinkLostError(
                f"certificate, key and trust in {self._folder} cannot be used: {exc}"
            ) from exc
        context.sslsocket_class = handshake.sockets(_Socket)
        return context

    def is_renewed(self) -> bool:
        """Return whether other files lie there than were shown last, and can be shown."""
        try:
            if self._mark() == self._shown:
                return False
            self._read()
        except OSError as exc:
            log.warning("changed certificate not used", folder=str(self._folder), why=str(exc))
            return False
        return True

    def refused(self) -> str:
        """Return what to do where a broker does not let us in."""
        return (
            f"the broker does not take our certificate, which ends {self._end()}; type on the "
            "platform: headgate certs check, headgate certs renew, headgate cluster enrol; then "
            f"carry cert.pem to {self._folder}"
        )

    def stranger(self) -> str:
        """Return what to do where we do not know the broker."""
        return (
            f"the broker is not vouched for by {self._folder}/trust.pem, or not under the name in "
            "uplink.url; carry the platform's pki/trust.pem there, or mend the url"
        )

    def _read(self) -> ssl.SSLContext:
        return client_context(self._folder / "trust.pem", identity=self._folder)

    def _mark(self) -> object:
        found = [(self._folder / each).stat() for each in _FILES]
        return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)

    def _end(self) -> str:
        try:
            end = datetime.fromtimestamp(ends_ms(self._folder) / 1_000, tz=UTC)
        except (OSError, ValueError):
            return "nobody knows when"
        return f"{end:%Y-%m-%dT%H:%M:%SZ}"
