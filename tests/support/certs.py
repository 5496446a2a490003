"""A small PKI at any moment, real handshakes over loopback, and a disk that dies."""

import socket
import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from certs.authority import holders, rotate
from certs.authority.disk import Disk, RealDisk
from certs.authority.pki import FOLDER, Pki, opened
from certs.authority.settle import settle
from certs.authority.store import CERTIFICATE, CURRENT, KEY, REVOKED, TRUST
from certs.core.profile import Role
from certs.tls import Client, client_context, client_name, server_context
from wire.clock import SystemClock

DAY_MS = 86_400_000
NOW_MS = SystemClock().now_ms()  # handshakes are judged by the machine's own clock
WITHIN_S = 10.0


@dataclass(frozen=True)
class Platform:
    """One data directory and its PKI."""

    home: Path

    @property
    def pki(self) -> Path:
        return self.home / FOLDER

    @property
    def trust(self) -> Path:
        return self.pki / TRUST

    @property
    def revoked(self) -> Path:
        return self.pki / REVOKED

    def folder(self, role: Role, name: str) -> Path:
        return self.pki / f"{role}s" / name / CURRENT

    def at(self, days: float = 0, disk: Disk | None = None) -> AbstractContextManager[Pki]:
        return opened(self.home, now_ms=NOW_MS + round(days * DAY_MS), disk=disk)

    def found(self, days: float = 0) -> "Platform":
        with self.at(days) as pki:
            rotate.establish(pki)
        return self

    def refresh(self, days: float = 0) -> None:
        with self.at(days) as pki:
            settle(pki)

    def issue(self, role: Role, name: str, days: float = 0) -> Path:
        """Return the very folder, so it stays what it was when another is issued."""
        with self.at(days) as pki:
            return holders.issue(pki, role, name, dns=_dns(role)).folder.resolve()

    def door(self, name: str = "door") -> ssl.SSLContext:
        """Return what a door answers with: only known clients may enter."""
        self.issue(Role.SERVER, name)
        return server_context(
            self.folder(Role.SERVER, name), trust=self.trust, revoked=self.revoked
        )

    def dial(self, identity: Path | None) -> ssl.SSLContext:
        return client_context(self.trust, identity=identity)


def _dns(role: Role) -> tuple[str, ...]:
    return ("localhost",) if role is Role.SERVER else ()


@dataclass(frozen=True)
class Shake:
    """How a handshake ended on both shores: None where it was refused."""

    server_saw: Client | None
    server_refused: str | None
    client_refused: str | None
    version: str | None = None
    cipher: str | None = None
    session: ssl.SSLSession | None = field(default=None, repr=False)
    is_resumed: bool = False
    server_serial: int = 0

    @property
    def is_open(self) -> bool:
        return self.server_refused is None and self.client_refused is None


def shake(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    *,
    host: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> Shake:
    """Let a client dial a server over loopback and say one word."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(WITHIN_S)
        answering = pool.submit(_answer, listener, server)
        try:
            done = _dial(listener.getsockname(), client, host, session)
        except (ssl.SSLError, ConnectionError) as refusal:
            done = Shake(None, None, _why(refusal))
        saw, refused = answering.result(timeout=WITHIN_S)
    return Shake(
        saw,
        refused,
        done.client_refused,
        done.version,
        done.cipher,
        done.session,
        done.is_resumed,
        done.server_serial,
    )


def _dial(
    address: tuple[str, int], context: ssl.SSLContext, host: str, session: ssl.SSLSession | None
) -> Shake:
    with (
        socket.create_connection(address, timeout=WITHIN_S) as plain,
        context.wrap_socket(plain, server_hostname=host, session=session) as link,
    ):
        link.sendall(b"?")
        if link.recv(1) != b"!":  # with 1.3 a refusal arrives only after our own handshake
            raise ConnectionError("closed without an answer")
        certificate, cipher = link.getpeercert(), link.cipher()
        serial = int(str(certificate["serialNumber"]), 16) if certificate else 0
        return Shake(
            None,
            None,
            None,
            link.version(),
            cipher[0] if cipher else None,
            link.session,
            bool(link.session_reused),
            serial,
        )


def _answer(listener: socket.socket, context: ssl.SSLContext) -> tuple[Client | None, str | None]:
    plain, _ = listener.accept()
    plain.settimeout(WITHIN_S)
    try:
        with plain, context.wrap_socket(plain, server_side=True) as link:
            if link.recv(1) != b"?":
                raise ConnectionError("closed without a word")
            link.sendall(b"!")
            return client_name(link.getpeercert()), None
    except (ssl.SSLError, ConnectionError) as refusal:
        return None, _why(refusal)


def _why(refusal: Exception) -> str:
    if isinstance(refusal, ssl.SSLCertVerificationError):
        return refusal.verify_message
    return getattr(refusal, "reason", None) or type(refusal).__name__


@contextmanager
def old_fashioned() -> Iterator[None]:
    """Let a test ask for what Python itself calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


class Died(BaseException):
    """The power went."""


class DyingDisk:
    """A disk whose step number ``at`` does not happen, or half, or is the last that does."""

    def __init__(self, at: int = -1, *, how: str = "before") -> None:
        self._disk = RealDisk()
        self._at = at
        self._how = how
        self.steps = 0

    def make_folder(self, path: Path) -> None:
        self._step(lambda: self._disk.make_folder(path), lambda: None)

    def write_new(self, path: Path, body: bytes) -> None:
        half = body[: len(body) // 2]
        self._step(
            lambda: self._disk.write_new(path, body), lambda: self._disk.write_new(path, half)
        )

    def append(self, path: Path, line: bytes) -> None:
        half = line[: len(line) // 2]
        self._step(lambda: self._disk.append(path, line), lambda: self._disk.append(path, half))

    def cut(self, path: Path, size: int) -> None:
        self._step(lambda: self._disk.cut(path, size), lambda: None)

    def link(self, path: Path, target: str) -> None:
        self._step(lambda: self._disk.link(path, target), lambda: None)

    def move(self, source: Path, target: Path) -> None:
        self._step(lambda: self._disk.move(source, target), lambda: None)

    def remove(self, path: Path) -> None:
        self._step(lambda: self._disk.remove(path), lambda: None)

    def remove_folder(self, path: Path) -> None:
        self._step(lambda: self._disk.remove_folder(path), lambda: None)

    def _step(self, whole: Callable[[], None], half: Callable[[], None]) -> None:
        self.steps += 1
        if self.steps - 1 != self._at:
            whole()
            return
        if self._how == "half":
            half()
        elif self._how == "after":
            whole()
        raise Died


def openssl(*arguments: str | Path) -> str:
    """Return what OpenSSL's own program says of our files: somebody else's reading of them."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def holder_folders(pki: Path) -> list[Path]:
    """Return every folder of one certificate, ``current`` links left out."""
    return sorted(
        each.parent for each in pki.glob(f"*/*/*/{CERTIFICATE}") if CURRENT not in each.parts
    )


def keys(home: Path) -> dict[Path, bytes]:
    """Return every key by its place."""
    found = [*home.glob(f"pki/*/*/*/{KEY}"), *home.glob("pki/offline/*.key")]
    return {each: each.read_bytes() for each in found if CURRENT not in each.parts}
