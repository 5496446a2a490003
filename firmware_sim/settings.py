"""What the command line may say, parsed and bounded once, as plain values."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, CliPositionalArg, CliSubCommand, SettingsConfigDict

from firmware_sim.adapters.mqtt import Address
from firmware_sim.core.message import READINGS_PER_MESSAGE_MAX
from wire.errors import PeerError


class UnusableSettingError(PeerError):
    """A value on the command line cannot be used; the message says what to type instead."""


def _flag(name: str, **field: Any) -> Any:
    """Return a field whose flag is ``--name``, though its own name ends in a unit."""
    return Field(validation_alias=name, **field)


class Command(BaseModel):
    """What every command shares."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Sensing(Command):
    """What fleet and flood share."""

    broker: Annotated[
        list[str], Field(min_length=1, description="mqtt://HOST:PORT of a hub; may be repeated")
    ]
    ledger: Annotated[Path, Field(description="file to create: what the oracle compares with")]
    first_sensor_id: Annotated[
        int, Field(1_000, ge=0, description="of the first hub; the ids of all hubs follow on")
    ]
    seconds: Annotated[float, Field(30.0, gt=0, le=1e7, description="how long to measure")]
    seed: Annotated[int, Field(1, ge=0, description="the same seed gives the same water")]
    profile: Annotated[Literal["drinking", "river"], Field("drinking", description="which water")]
    forgetful: Annotated[float, Field(0.0, ge=0, le=1, description="share that keeps nothing")]
    contaminate_every_s: float = _flag(
        "contaminate-every", default=0.0, ge=0, description="sensor seconds between; 0 = never"
    )
    contamination_s: float = _flag(
        "contamination-seconds", default=10.0, gt=0, description="how long an event lasts"
    )
    fault_every_s: float = _flag(
        "fault-every", default=0.0, ge=0, description="sensor seconds between probe faults"
    )
    connections: Annotated[int, Field(1, ge=1, le=100, description="MQTT connections a hub")]
    drain_s: float = _flag(
        "drain-seconds", default=30.0, ge=0, description="wait at the end for hubs to commit"
    )
    progress_every_s: float = _flag(
        "progress-every", default=1.0, gt=0, description="seconds between progress lines"
    )


class FleetCommand(Sensing):
    """Let sensors measure live water and keep each reading until their hub has it on disk."""

    sensors: Annotated[int, Field(20, ge=1, le=1_000_000, description="on each hub")]
    rate: Annotated[float, Field(1.0, gt=0, le=1_000, description="readings a second of each")]
    speed: Annotated[float, Field(1.0, gt=0, le=1e6, description="sensor seconds in a second")]

    @property
    def per_message(self) -> int:
        """How many readings one message carries."""
        return 1


class FloodCommand(Sensing):
    """Send as fast as told, never slowed by answers; sensor time runs a second a reading."""

    sensors: Annotated[int, Field(200, ge=1, le=1_000_000, description="on each hub")]
    readings_per_s: float = _flag(
        "rate", default=1_000.0, gt=0, le=1e6, description="readings a second on each hub"
    )
    per_message: Annotated[
        int, Field(1, ge=1, le=READINGS_PER_MESSAGE_MAX, description="readings in a message")
    ]

    @property
    def rate(self) -> float:
        """Readings a second of each sensor, on its own clock: what a hub admits."""
        return 1.0

    @property
    def speed(self) -> float:
        """Sensor seconds in a second."""
        return self.readings_per_s / self.sensors


class ReplayCommand(Command):
    """Send a recorded file through a hub, every row at its own time."""

    file: CliPositionalArg[Path] = Field(description="CSV, or CSV.gz")
    map: Annotated[str, Field(description="MAP.toml, or gecco2017 or logan_river")]
    broker: Annotated[str, Field(description="mqtt://HOST:PORT of the hub")]
    ledger: Annotated[Path, Field(description="file to create: what the oracle compares with")]
    speed: Annotated[
        Literal["max"] | Annotated[float, Field(gt=0)],
        Field("max", description="file seconds in a second; max = as fast as the hub commits"),
    ]
    first_sensor_id: Annotated[int, Field(1, ge=0, description="of the map's first sensor")]
    drain_s: float = _flag(
        "drain-seconds", default=120.0, ge=0, description="wait at the end for the hub to commit"
    )
    progress_every_s: float = _flag(
        "progress-every", default=1.0, gt=0, description="seconds between progress lines"
    )


class BatchesCommand(Command):
    """Publish sealed batches as many hubs at once: what the cloud is measured with."""

    broker: Annotated[str, Field(description="mqtt://NAME@HOST:PORT; hubs are NAME, or NAME-0...")]
    token_file: Annotated[
        str | None, Field(None, description="its token; {hub} stands for the hub's id")
    ]
    region: Annotated[str, Field("north", description="of every hub")]
    hubs: Annotated[int, Field(1, ge=1, le=1_000, description="virtual hubs")]
    batches: Annotated[int, Field(1_000, ge=1, description="of all hubs together")]
    rows: Annotated[int, Field(1_000, ge=1, description="readings in a batch")]
    sensors: Annotated[int, Field(200, ge=1, description="of each hub")]
    metrics: Annotated[int, Field(4, ge=1, le=7, description="measured by each sensor")]
    first_sensor_id: Annotated[int, Field(1_000_000, ge=0, description="of the first hub")]
    batches_per_s: float | None = _flag(
        "rate", default=None, gt=0, description="batches a second, open loop; unset = all at once"
    )
    await_receipts: Annotated[bool, Field(False, description="wait until the store has them")]
    drain_s: float = _flag(
        "drain-seconds", default=120.0, gt=0, description="wait this long for receipts"
    )
    seed: Annotated[int, Field(1, ge=0, description="the same seed gives the same water")]


class OracleCommand(Command):
    """Compare a ledger with the database: every difference counted and named."""

    ledger: Annotated[Path, Field(description="written by fleet, flood or replay")]
    database: Annotated[str, Field(description="postgresql://USER@HOST:PORT/DB?passfile=FILE")]
    window_s: float = _flag("window", default=0.0, ge=0, description="the hubs' windows; 0 = raw")
    json_line: bool = _flag("json", default=False, description="one JSON object, one line")


class Main(BaseSettings):
    """Simulated water, sensors and fleets, and the oracle that counts what became of them."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m firmware_sim",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    fleet: CliSubCommand[FleetCommand]
    flood: CliSubCommand[FloodCommand]
    batches: CliSubCommand[BatchesCommand]
    replay: CliSubCommand[ReplayCommand]
    oracle: CliSubCommand[OracleCommand]


def address(url: str, token_file: Path | None = None) -> Address:
    """Return the broker a URL names.

    Args:
        url: ``mqtt://[name@]host[:port]``.
        token_file: Holds the password, if one is wanted.

    Raises:
        UnusableSettingError: Says what to type.
    """
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise UnusableSettingError(f"{url}: write mqtt://HOST:PORT")
    if parts.password is not None:
        raise UnusableSettingError(f"{parts.hostname}: put the password in a --token-file")
    token = None
    if token_file is not None:
        if not token_file.is_file():
            raise UnusableSettingError(f"{token_file}: no such file; enrol first")
        token = token_file.read_text().strip()
    return Address(parts.hostname, parts.port or 1883, parts.username, token)
