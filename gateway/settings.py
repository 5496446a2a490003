"""What the gateway takes from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wire.errors import HeadgateError


class SettingsError(HeadgateError):
    """The environment does not say enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Environment variables with the prefix ``HEADGATE_``.

    Attributes:
        mqtt_bind: ``host:port`` of the broker, loopback only.
        identities: Folder of identity files.
        log: ``json``, one object a line, or ``console``.
    """

    mqtt_bind: str
    identities: Path
    log: str


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the environment's settings.

    Raises:
        SettingsError: The folder of identities is not named, or the log's form is none of ours.
    """
    identities, log = (
        environment.get("HEADGATE_IDENTITIES"),
        environment.get("HEADGATE_LOG", "json"),
    )
    if not identities:
        raise SettingsError("HEADGATE_IDENTITIES is not set")
    if log not in ("json", "console"):
        raise SettingsError(f"HEADGATE_LOG={log}: json or console")
    bind = environment.get("HEADGATE_MQTT_BIND", "127.0.0.1:1883")
    return Settings(mqtt_bind=bind, identities=Path(identities), log=log)
