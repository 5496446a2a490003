"""Enrolment: stages and hubs get an identity at the broker, hubs also a configuration."""

import json
from pathlib import Path
from typing import Any, Final

from headgate.stack.errors import StackError
from headgate.stack.layout import Facts, Home
from headgate.stack.network import free_port
from headgate.stack.postgres import write_secret
from headgate.stack.process import run_once
from headgate.stack.programs import DOOR, STAGES, command, environment
from wire.ids import is_name

_ENROL_WITHIN_S: Final = 60.0
_SENSORS_PORT: Final = 1884
_SPOOL_BYTES_MAX: Final = 1024**3


async def enrol_stages(home: Home) -> None:
    """Enrol every stage. Idempotent, and free once done."""
    files = [
        path
        for role in (*STAGES, DOOR)
        for path in (home.identities / f"{role}.json", home.token(role))
    ]
    if not all(path.exists() for path in files):
        folders = ("--identities", str(home.identities), "--tokens", str(home.secrets))
        await run_once(
            command("gateway", "enrol-stages", *folders),
            environment(home),
            within_s=_ENROL_WITHIN_S,
        )


async def add_hub(
    home: Home,
    facts: Facts,
    hub_id: str,
    region: str,
    *,
    folder: Path | None = None,
    **overrides: Any,
) -> Path:
    """Enrol a hub and write its ``edge.toml`` and token; return the configuration's path.

    Idempotent: the token is kept, the configuration is written anew. ``overrides`` replace or add
    settings of ``edge.toml``; a mapping is merged into its table, None removes a setting.

    Raises:
        StackError: The names are not names, or the hub is enrolled in another region.
    """
    check_names(hub_id, region)
    folder = hub_folder(home, hub_id, folder)
    token_file = folder / f"{hub_id}.token"
    await _enrol_hub(home, hub_id, region, token_file)
    uplink = {"url": f"mqtt://127.0.0.1:{facts.mqtt_port}", "token_file": str(token_file)}
    return write_config(folder, facts, hub_id, region, uplink, overrides)


def check_names(hub_id: str, region: str) -> None:
    """Refuse what cannot be a name.

    Raises:
        StackError: One of them is none.
    """
    if not (is_name(hub_id) and is_name(region)):
        raise StackError(
            f"{hub_id!r} in {region!r}: no such names", hint="use [a-z0-9-], at most 64 characters"
        )


def hub_folder(home: Home, hub_id: str, chosen: Path | None) -> Path:
    """Return where a hub's files go, made if missing."""
    folder = (chosen or home.hubs / hub_id).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_config(
    folder: Path,
    facts: Facts,
    hub_id: str,
    region: str,
    uplink: dict[str, Any],
    overrides: dict[str, Any],
) -> Path:
    """Write a hub's ``edge.toml`` anew and return its path; see ``add_hub`` for ``overrides``."""
    settings: dict[str, Any] = {
        "hub_id": hub_id,
        "region": region,
        "store_id": facts.store_id,
        "data_dir": str(folder / "data"),
        "window_s": 10,
        "spool_bytes_max": _SPOOL_BYTES_MAX,
        "clock_trusted": True,
        "uplink": uplink,
        "sensors": {},
    }
    _merge(settings, overrides)
    if not settings["sensors"]:
        settings["sensors"] = {"listen": f"127.0.0.1:{free_port(_SENSORS_PORT)}"}
    path = folder / "edge.toml"
    write_secret(path, to_toml(settings))
    return path


def to_toml(settings: dict[str, Any]) -> str:
    """Return settings as TOML: plain values first, then one table a mapping."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in settings.items() if isinstance(value, dict)}
    lines = [f"{name} = {_value(value)}" for name, value in plain.items()]
    for table, fields in tables.items():
        lines += ["", f"[{table}]"]
        lines += [f"{name} = {_value(value)}" for name, value in fields.items()]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """Return a string, number or boolean: TOML's are JSON's, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _merge(settings: dict[str, Any], overrides: dict[str, Any]) -> None:
    for name, value in overrides.items():
        if isinstance(value, dict):
            _merge(settings.setdefault(name, {}), value)
        elif value is None:
            settings.pop(name, None)
        else:
            settings[name] = str(value) if isinstance(value, Path) else value


async def _enrol_hub(home: Home, hub_id: str, region: str, token_file: Path) -> None:
    arguments = ("enrol", hub_id, "--role", "hub", "--region", region)
    files = ("--identities", str(home.identities), "--token-file", str(token_file))
    await run_once(
        command("gateway", *arguments, *files),
        environment(home),
        within_s=_ENROL_WITHIN_S,
        hint="choose another name, or the region and folder it was enrolled with",
    )
