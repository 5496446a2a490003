"""``headgate doctor``: what is wrong on this machine, and the next command to type."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from headgate.stack.errors import StackError
from headgate.stack.layout import Facts, Home, read_facts
from headgate.stack.network import free_port, listens
from headgate.stack.postgres import Flavour, address, find
from headgate.stack.process import run_once
from headgate.stack.programs import DOOR, answers, command, environment
from headgate.stack.stack import PREFERRED

_PYTHONS: Final = ((3, 11), (3, 13))
_NEEDED: Final = {"amqtt": "broker", "uvloop": "broker", "asyncpg": "cloud", "fastapi": "cloud"}
_GIB: Final = 1024**3
_DISK_BYTES_MIN: Final = 2 * _GIB
_ASK_WITHIN_S: Final = 30.0


class State(StrEnum):
    """How a check came out."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: What.
        state: How it came out.
        says: What was found.
        hint: What to type next; empty if nothing.
    """

    name: str
    state: State
    says: str
    hint: str = ""


def examine(home: Home) -> list[Check]:
    """Look at everything; changes nothing."""
    checks = [_python(), _packages(), _postgres(), _disk(home), _folder(home)]
    facts = read_facts(home)
    if home.is_up() and facts is not None:
        checks += _running(home, facts)
    else:
        checks += [Check("stack", State.NOTE, "not running", "headgate up"), *_ports(facts)]
    return [*checks, *_spools(home)]


def report(checks: list[Check]) -> dict[str, object]:
    """Return the checks as one JSON object."""
    return {"ok": is_well(checks), "checks": [asdict(each) for each in checks]}


def is_well(checks: list[Check]) -> bool:
    """Return whether nothing is wrong; notes do not count."""
    return all(each.state is not State.WRONG for each in checks)


def _python() -> Check:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Check("python", State.GOOD, here)
    return Check(
        "python", State.WRONG, f"{here} is not 3.11 to 3.13", "make install PYTHON=python3.11"
    )


def _packages() -> Check:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return Check("packages", State.GOOD, "broker and cloud are installed")
    extras = ",".join(sorted({_NEEDED[name] for name in missing}))
    return Check(
        "packages",
        State.WRONG,
        f"missing: {', '.join(missing)}",
        f"pip install 'headgate[{extras}]'",
    )


def _postgres() -> Check:
    chosen = os.environ.get("HEADGATE_POSTGRES")
    try:
        found = find(Flavour(chosen) if chosen else None)
    except StackError as exc:
        return Check("postgresql", State.WRONG, str(exc.args[0]), exc.hint)
    except ValueError:
        return Check(
            "postgresql", State.WRONG, f"HEADGATE_POSTGRES={chosen}", "unset HEADGATE_POSTGRES"
        )
    return Check("postgresql", State.GOOD, f"{found.major} ({found.flavour}) in {found.folder}")


def _disk(home: Home) -> Check:
    place = next(each for each in (home.root, *home.root.parents) if each.exists())
    free = shutil.disk_usage(place).free
    says = f"{free / _GIB:.1f} GiB free at {place}"
    if free < _DISK_BYTES_MIN:
        return Check("disk", State.WRONG, says, "make room, or choose another --home")
    return Check("disk", State.GOOD, says)


def _folder(home: Home) -> Check:
    place = next(each for each in (home.root, *home.root.parents) if each.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("data", State.WRONG, f"{place} is not ours to write", "choose another --home")
    open_secrets = [
        path
        for folder in (home.secrets, home.identities)
        for path in sorted(folder.glob("*"))
        if path.stat().st_mode & 0o077
    ]
    if open_secrets:
        listed = " ".join(map(str, open_secrets))
        return Check("data", State.WRONG, f"others may read {listed}", f"chmod 600 {listed}")
    if os.geteuid() == 0 and (closed := _closed_to_others(home.root)):
        return Check(
            "data",
            State.WRONG,
            f"PostgreSQL does not run as root, and its account cannot enter {closed}",
            "headgate up --home /var/lib/headgate",
        )
    return Check("data", State.GOOD, str(home.root))


def _closed_to_others(root: Path) -> Path | None:
    for folder in (root, *root.parents):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            return folder
    return None


def _ports(facts: Facts | None) -> Iterator[Check]:
    wanted = {
        "postgres": facts.postgres_port if facts else PREFERRED.postgres,
        "mqtt": facts.mqtt_port if facts else PREFERRED.mqtt,
        "api": facts.api_port if facts else PREFERRED.api,
        "http": facts.http_port if facts else PREFERRED.http,
    }
    for name, port in wanted.items():
        if free_port(port) == port:
            yield Check(f"port {name}", State.GOOD, f"{port} is free")
        else:
            yield Check(
                f"port {name}", State.NOTE, f"{port} is taken; the next free one will be used"
            )


def _running(home: Home, facts: Facts) -> Iterator[Check]:
    yield Check("stack", State.GOOD, f"{len(facts.processes)} processes")
    for name, pid in facts.processes.items():
        if Path(f"/proc/{pid}").exists():
            yield Check(name, State.GOOD, f"process {pid}")
        else:
            log = home.logs / f"{name}.log"
            yield Check(name, State.WRONG, "not running; it is being restarted", f"tail {log}")
    broker = facts.processes.get("gateway", 0)
    if listens(broker, facts.mqtt_port):
        yield Check("broker", State.GOOD, f"mqtt://127.0.0.1:{facts.mqtt_port}")
    else:
        yield Check(
            "broker",
            State.WRONG,
            f"nobody listens on {facts.mqtt_port}",
            f"tail {home.logs / 'gateway.log'}",
        )
    yield asyncio.run(_database(home, facts))
    if "api" in facts.processes:
        yield asyncio.run(_api(home, facts))
    if DOOR in facts.processes:
        yield asyncio.run(_door(home, facts))


async def _database(home: Home, facts: Facts) -> Check:
    url = address(facts.postgres_port, home.passfile)
    try:
        store_id = await run_once(
            command("cloud", "store-id"),
            environment(home, HEADGATE_DATABASE_URL=url),
            within_s=_ASK_WITHIN_S,
        )
    except StackError as exc:
        return Check(
            "database", State.WRONG, str(exc.args[0]), f"tail {home.logs / 'postgres.log'}"
        )
    return Check("database", State.GOOD, f"migrated, store {store_id.strip()}")


async def _api(home: Home, facts: Facts) -> Check:
    if await answers(facts.api_port, "/readyz"):
        return Check("api", State.GOOD, f"http://127.0.0.1:{facts.api_port}")
    return Check("api", State.WRONG, "/readyz does not say 200", f"tail {home.logs / 'api.log'}")


async def _door(home: Home, facts: Facts) -> Check:
    if await answers(facts.http_port, "/readyz"):
        url = f"http://127.0.0.1:{facts.http_port}/api/sensors/data"
        return Check("http door", State.GOOD, url)
    return Check(
        "http door", State.WRONG, "it has no way to the store", f"tail {home.logs / 'http.log'}"
    )


def _spools(home: Home) -> Iterator[Check]:
    for spool in sorted(home.hubs.glob("*/data/spool.db")):
        size = sum(path.stat().st_size for path in spool.parent.glob("spool.db*")) / 1024**2
        hub = spool.parent.parent.name
        yield Check(f"spool {hub}", State.GOOD, f"{size:.1f} MiB on disk in {spool}")
