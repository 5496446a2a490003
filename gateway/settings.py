"""What the gateway takes from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from wire.doors import is_door, is_sensors_door
from wire.errors import HeadgateError
from wire.ids import HubId, Region, is_name


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Environment variables with the prefix ``HEADGATE_``, for one HTTP door.

    Attributes:
        http_bind: ``host:port`` to listen on, loopback only: a proxy on this machine speaks TLS.
        broker_url: ``mqtt://NAME@host:port`` with a token, or ``amqps://host:port[,host:port...]``
            with a certificate.
        broker_token_file: What proves the name over MQTT.
        broker_tls: Over AMQPS, the folder of our certificate: ``cert.pem``, ``key.pem`` and the
            roots to trust, ``trust.pem``.
        name: Over AMQPS, the certificate's common name, one a replica (HEADGATE_DOOR_NAME).
        region: Where that hub is enrolled.
        store_id: Whose receipts count (HEADGATE_STORE_ID).
        number: Which of the doors this is (HEADGATE_DOOR).
        redis_url: Where doors share their buckets; None for a door that stands alone.
        device_header: Where the proxy puts a device's name (HEADGATE_DEVICE_HEADER), None if it
            asks for no certificates.
        log: ``json``, one object a line, or ``console``.
    """

    http_bind: str
    broker_url: str
    broker_token_file: Path | None
    broker_tls: Path | None
    name: HubId
    region: Region
    store_id: UUID
    number: int
    redis_url: str | None
    device_header: str | None
    log: str


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the environment's settings.

    Raises:
        SettingsError: The folder of identities is not named, or the log's form is none of ours.
    """
    bind = environment.get("HEADGATE_MQTT_BIND", "127.0.0.1:1883")
    identities = Path(_needed(environment, "HEADGATE_IDENTITIES"))
    return Settings(mqtt_bind=bind, identities=identities, log=_log(environment))


def read_sensors(environment: Mapping[str, str] = os.environ) -> HttpSettings:
    """Return the environment's settings for a door that takes what sensors publish by MQTT.

    Raises:
        SettingsError: Something is not said, or makes no sense.
    """
    beside_http = {"HEADGATE_DOOR_NAME": "sensors", "HEADGATE_HTTP_BIND": "127.0.0.1:8082"}
    settings = read_http({**beside_http, **environment})
    if not is_sensors_door(settings.name):
        raise SettingsError(f"HEADGATE_DOOR_NAME={settings.name}: it is sensors, sensors-0, ...")
    if not settings.broker_url.startswith("amqps:"):
        raise SettingsError("HEADGATE_BROKER_URL: sensors without a hub publish to RabbitMQ only")
    return settings


def read_http(environment: Mapping[str, str] = os.environ) -> HttpSettings:
    """Return the environment's settings for an HTTP door.

    Raises:
        SettingsError: Something is not said, or makes no sense.
    """
    region = environment.get("HEADGATE_REGION", "local")
    if not is_name(region):
        raise SettingsError(f"HEADGATE_REGION={region}: regions are [a-z0-9-]{{1,64}}")
    name = environment.get("HEADGATE_DOOR_NAME", "http")
    if not is_door(name):
        raise SettingsError(f"HEADGATE_DOOR_NAME={name}: doors are called http, http-0, http-1 ...")
    number = environment.get("HEADGATE_DOOR", "0")
    if not (number.isascii() and number.isdigit() and len(number) <= 2):
        raise SettingsError(f"HEADGATE_DOOR={number}: doors are numbered 0 to 99")
    try:
        store_id = UUID(_needed(environment, "HEADGATE_STORE_ID"))
    except ValueError as exc:
        raise SettingsError("HEADGATE_STORE_ID is no UUID; see `python -m cloud store-id`") from exc
    return HttpSettings(
        http_bind=environment.get("HEADGATE_HTTP_BIND", "127.0.0.1:8081"),
        broker_url=_needed(environment, "HEADGATE_BROKER_URL"),
        broker_token_file=_path(environment, "HEADGATE_BROKER_TOKEN_FILE"),
        broker_tls=_path(environment, "HEADGATE_BROKER_TLS"),
        name=HubId(name),
        region=Region(region),
        store_id=store_id,
        number=int(number),
        redis_url=environment.get("HEADGATE_REDIS_URL"),
        device_header=environment.get("HEADGATE_DEVICE_HEADER"),
        log=_log(environment),
    )


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    return Path(found) if (found := environment.get(name)) else None


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not (found := environment.get(name)):
        raise SettingsError(f"{name} is not set")
    return found


def _log(environment: Mapping[str, str]) -> str:
    if (log := environment.get("HEADGATE_LOG", "json")) not in ("json", "console"):
        raise SettingsError(f"HEADGATE_LOG={log}: json or console")
    return log
