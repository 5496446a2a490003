"""What the environment says. Only ``__main__`` and ``run`` read it; stages get plain values."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cloud.core.share import Share


def _share(value: object) -> object:
    return Share.parse(value) if isinstance(value, str) else value


class Settings(BaseSettings):
    """What every command needs.

    Attributes:
        database_url: ``postgresql://user@host:port/database?passfile=...``, no password in it.
        log: One JSON object a line, or text for people.
    """

    model_config = SettingsConfigDict(env_prefix="HEADGATE_", frozen=True)

    database_url: str
    log: Literal["json", "console"] = "json"


class StageSettings(Settings):
    """What a stage at the broker needs.

    Attributes:
        broker_url: ``mqtt://NAME@host:port``; the name is our identity there.
        broker_token_file: Holds the secret that proves it.
        share: ``"0/2"`` = worker 0 of 2: which hubs are ours.
    """

    broker_url: str
    broker_token_file: Path
    share: Annotated[Share, NoDecode, BeforeValidator(_share)] = Share()


class ApiSettings(Settings):
    """What the API needs.

    Attributes:
        api_bind: ``host:port``, loopback until people can sign in.
        prometheus_multiproc_dir: Where every process keeps its metrics; None: show only our own.
    """

    api_bind: str = "127.0.0.1:8080"
    prometheus_multiproc_dir: Path | None = Field(None, validation_alias="PROMETHEUS_MULTIPROC_DIR")
