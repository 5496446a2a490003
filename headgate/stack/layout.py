"""One data directory: what lies where, who may read it, and one stack at a time."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.stack.errors import StackError
from headgate.stack.postgres import write_secret


@dataclass(frozen=True, slots=True)
class Home:
    """The data directory of one stack. Everything the stack keeps is below ``root``."""

    root: Path

    @property
    def postgres(self) -> Path:
        """PostgreSQL's own folder; its account owns it."""
        return self.root / "postgres"

    @property
    def secrets(self) -> Path:
        """Tokens and passwords; 0700."""
        return self.root / "secrets"

    @property
    def passfile(self) -> Path:
        """The database password, as libpq reads it."""
        return self.secrets / "pgpass"

    @property
    def identities(self) -> Path:
        """Who may enter the broker."""
        return self.root / "identities"

    @property
    def metrics(self) -> Path:
        """The stages' counters, shared with the API; emptied at every start."""
        return self.root / "metrics"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def hubs(self) -> Path:
        """Configuration and data of hubs that live on this machine."""
        return self.root / "hubs"

    def token(self, name: str) -> Path:
        """Return where a stage's token is."""
        return self.secrets / f"{name}.token"

    def make(self) -> None:
        """Make the folders. Idempotent."""
        self.root.mkdir(parents=True, exist_ok=True)
        # Root's PostgreSQL runs as somebody else, who must pass through but need not look.
        self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for folder in (self.secrets, self.identities, self.metrics, self.logs, self.hubs):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data directory for this process; the kernel lets go of it if we die.

        Raises:
            StackError: Another process holds it.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                holder = os.pread(descriptor, 32, 0).decode().strip()
                raise StackError(
                    f"process {holder} already runs a stack in {self.root}",
                    hint=f"stop it (kill {holder}), or choose another --home",
                ) from exc
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def is_up(self) -> bool:
        """Return whether a process holds the data directory just now."""
        try:
            with self.locked():
                return False
        except StackError:
            return True
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a running stack tells others about itself; kept when it stops.

    Attributes:
        store_id: The name hubs pin this store by.
        postgres_port: Where PostgreSQL listens.
        mqtt_port: Where the broker listens.
        api_port: Where the API listens.
        processes: Process id by name; empty when stopped.
        http_port: Where the HTTP door listens.
    """

    store_id: str
    postgres_port: int
    mqtt_port: int
    api_port: int
    processes: dict[str, int]
    http_port: int = 8081  # what stacks before this door told nothing of

    def write(self, home: Home) -> None:
        """Replace what was told before."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        write_secret(home.root / "stack.json", json.dumps(fields, indent=2) + "\n")


def read_facts(home: Home) -> Facts | None:
    """Return what the last stack in this data directory told, None if there was none."""
    try:
        fields: dict[str, Any] = json.loads((home.root / "stack.json").read_text())
        return Facts(**fields)
    except (OSError, ValueError, TypeError):
        return None


def default_home(environment: dict[str, str]) -> Path:
    """Return HEADGATE_HOME, or the usual place: root's own home is closed to PostgreSQL."""
    if chosen := environment.get("HEADGATE_HOME"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/headgate")
    base = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "headgate"
