"""What a hub is told in its TOML file. Only ``run`` reads it; code gets plain values.

Example:
    ```toml
    hub_id = "hub-1"
    region = "north"
    store_id = "3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11"
    data_dir = "/var/lib/headgate"
    [uplink]
    url = "mqtt://127.0.0.1:1883"
    token_file = "/etc/headgate/hub-1.token"
    [sensors]
    listen = "127.0.0.1:1884"
    ```
    At a cluster, instead of the token:
    ```toml
    [uplink]
    url = "mqtts://broker-1.example.org:8883,broker-2.example.org:8883"
    certificate_dir = "/etc/headgate"
    ```
"""

import stat
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from certs.tls import client_context
from edge_agent.core.pace import ARRIVALS_PER_S_MAX
from wire.errors import HeadgateError
from wire.ids import HubId, Region, UnixMs, is_name
from wire.limits import MIB

SPOOL_BYTES_MIN: Final = 8 * MIB
SPOOL_BYTES_DEFAULT: Final = 1_024 * MIB
WINDOW_S_MAX: Final = 3_600
TOKEN_CHARS_MAX: Final = 1_024
_PORTS: Final = {"mqtt": 1_883, "mqtts": 8_883}
_BROKERS: Final = 'must be "mqtt://host:port" or "mqtts://host:port", further nodes by ",host:port"'


class SettingsError(HeadgateError):
    """The settings cannot be used; says which key of which file, and what to do."""


class Address(NamedTuple):
    """Where a program listens."""

    host: str
    port: int


class Brokers(NamedTuple):
    """The nodes of one broker, any of which will do.

    Attributes:
        nodes: At least one.
        is_tls: Whether they are spoken to by certificate.
    """

    nodes: tuple[Address, ...]
    is_tls: bool


def _name(value: Any) -> Any:
    if not is_name(value):
        raise ValueError("must be 1 to 64 of a-z, 0-9 and -")
    return value


def _address(value: Any) -> Any:
    host, _, port = str(value).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError('must be "host:port"')
    return Address(host.strip("[]"), int(port))


def _broker(value: Any) -> Any:
    found = _brokers(value)
    if found.is_tls or len(found.nodes) != 1:
        raise ValueError('must be "mqtt://host:port"')
    return found.nodes[0]


def _brokers(value: Any) -> Brokers:
    # Not urlsplit: some versions take a list that ends in [::1] for one malformed address.
    scheme, _, nodes = str(value).partition("://")
    if "@" in nodes:
        raise ValueError("must not carry a name or a password: the token has a file of its own")
    port = _PORTS.get(scheme)
    if port is None:
        raise ValueError(_BROKERS)
    listed = nodes.rstrip("/").split(",")
    return Brokers(tuple(_node(each, port) for each in listed), scheme == "mqtts")


def _node(text: str, port: int) -> Address:
    try:
        node = urlsplit(f"//{text}")
        host, port = node.hostname, node.port or port
    except ValueError as exc:
        raise ValueError(_BROKERS) from exc
    if not host or node.path or node.query or node.fragment:
        raise ValueError(_BROKERS)
    return Address(host, port)


ListenAddress = Annotated[Address, BeforeValidator(_address)]
BrokerAddress = Annotated[Address, BeforeValidator(_broker)]
BrokerNodes = Annotated[Brokers, BeforeValidator(_brokers)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class UplinkSettings(_Table):
    """The way to the cloud: ``mqtt://`` by token, ``mqtts://`` by certificate.

    Attributes:
        url: The broker: ``mqtts://host:port[,host:port...]``, or ``mqtt://``.
        token_file: Holds the hub's token; readable by its owner only. ``mqtt://`` needs it.
        certificate_dir: Holds ``cert.pem``, ``key.pem`` and ``trust.pem``. ``mqtts://`` needs it.
    """

    url: BrokerNodes
    token_file: Path | None = None
    certificate_dir: Path | None = None

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if self.url.is_tls and (self.certificate_dir is None or self.token_file is not None):
            raise ValueError(
                "mqtts:// needs certificate_dir (cert.pem, key.pem and trust.pem in it) and no "
                "token_file; type: headgate certs request HUB --out DIR"
            )
        if not self.url.is_tls and (self.token_file is None or self.certificate_dir is not None):
            raise ValueError("mqtt:// needs token_file; certificate_dir goes with mqtts://")
        return self


class SensorSettings(_Table):
    """The way to the sensors: exactly one of ``listen`` and ``url``.

    Attributes:
        listen: Serve sensors here, with the broker inside the agent.
        url: Subscribe at this broker instead.
        readings_per_s_max: What one connection may bring, embedded listener only.
    """

    listen: ListenAddress | None = None
    url: BrokerAddress | None = None
    readings_per_s_max: int = Field(default=ARRIVALS_PER_S_MAX, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.listen is None) == (self.url is None):
            raise ValueError("needs exactly one of listen and url")
        return self


class HubSettings(_Table):
    """Everything a hub is told.

    Attributes:
        hub_id: Who it is: ``[a-z0-9-]{1,64}``.
        region: Where it stands; the same alphabet.
        store_id: Pinned at enrolment: receipts of any other store are ignored.
        data_dir: Holds the spool and its lock.
        window_s: Length of an aggregation window; 0 sends raw rows.
        spool_bytes_max: Above it the oldest batches are thinned, then shed.
        clock_trusted: False on a machine whose clock means nothing until receipts bring the time.
        backfill_floor: Marks every batch as history not older than this.
        uplink: The way to the cloud.
        sensors: The way to the sensors.
    """

    hub_id: Annotated[HubId, BeforeValidator(_name)]
    region: Annotated[Region, BeforeValidator(_name)]
    store_id: UUID
    data_dir: Path
    window_s: int = Field(default=10, ge=0, le=WINDOW_S_MAX)
    spool_bytes_max: int = Field(default=SPOOL_BYTES_DEFAULT, ge=SPOOL_BYTES_MIN)
    clock_trusted: bool = True
    backfill_floor: datetime | None = None
    uplink: UplinkSettings
    sensors: SensorSettings

    @property
    def floor_ms(self) -> UnixMs | None:
        """The backfill floor, Unix ms; None if this hub sends the present."""
        floor = self.backfill_floor
        return None if floor is None else UnixMs(round(floor.timestamp() * 1_000))

    @model_validator(mode="after")
    def _floor_has_a_zone(self) -> Self:
        if self.backfill_floor is not None and self.backfill_floor.tzinfo is None:
            raise ValueError("backfill_floor needs an offset from UTC, as in 2016-01-01T00:00:00Z")
        return self


def load(path: Path) -> HubSettings:
    """Return the settings in a file.

    Raises:
        SettingsError: Names the file, the key and what is wrong with it.
    """
    try:
        return HubSettings.model_validate(tomllib.loads(path.read_text()))
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: is no TOML: {exc}") from exc
    except ValidationError as exc:
        faults = (f"{path}: {_key(error['loc'])}{_why(error)}" for error in exc.errors())
        raise SettingsError("\n".join(faults)) from exc


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        SettingsError: It cannot be read, is empty, or others may read it.
    """
    try:
        _refuse_shared(path, "the hub's token")
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: the hub's token cannot be read: {exc}") from exc
    if not 0 < len(token) <= TOKEN_CHARS_MAX:
        raise SettingsError(f"{path}: holds no token")
    return token


def check_certificate(folder: Path, hub_id: HubId) -> None:
    """See that a folder holds what a hub proves itself with. When it ends is not looked at.

    Raises:
        SettingsError: A file is missing or not what it should be, or others may read the key.
    """
    try:
        _refuse_shared(folder / "key.pem", "the hub's key")
        client_context(folder / "trust.pem", identity=folder)
    except OSError as exc:
        raise SettingsError(
            f"{folder}: no certificate, key and trust to be used: {exc}; "
            f"type: headgate certs request {hub_id} --out {folder}, have it issued, and carry "
            "cert.pem and trust.pem there"
        ) from exc


def _refuse_shared(path: Path, what: str) -> None:
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsError(f"{path}: others may read {what}; type: chmod 600 {path}")


def _key(place: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, place))}: " if place else ""


def _why(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "is no setting"
        case "missing":
            return "is missing"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")
