"""What the gateway takes from its environment."""

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment variables with the prefix ``HEADGATE_``."""

    model_config = SettingsConfigDict(env_prefix="HEADGATE_", frozen=True)

    mqtt_bind: str = "127.0.0.1:1883"
    identities: Path
    log: Literal["json", "console"] = "json"
