"""What the environment says. Only ``__main__`` and ``run`` read it; stages get plain values.

Read by hand: a settings library costs a stage as much as all else it imports but numpy, and a stage
that was killed is not back before it has imported everything.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from cloud.core.errors import OperatorError
from cloud.core.reach import BACKFILL_FROM, Reach, midnight_ms
from cloud.core.share import Share

LogForm = Literal["json", "console"]
EVERY_HUB: Final = Share()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """What every command needs.

    Attributes:
        log: One JSON object a line, or text for people.
        backfill_from: ``2015-01-01``, UTC: history older than this is refused, whatever floor a
            hub sends. Each month of history that arrives is kept in tables of its own.
    """

    log: LogForm = "json"
    backfill_from: date = BACKFILL_FROM

    @property
    def reach(self) -> Reach:
        """How far back rows are taken."""
        return Reach(backfill_from_ms=midnight_ms(self.backfill_from))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CommonSettings):
    """What every command at one database needs.

    Attributes:
        database_url: ``postgresql://user@host:port/database?passfile=...``, no password in it.
    """

    database_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings(Settings):
    """What a stage at the broker needs.

    Attributes:
        broker_url: ``mqtt://NAME@host:port``, the name our identity there, or RabbitMQ's nodes:
            ``amqps://host:port[,host:port...]``.
        broker_token_file: Holds the secret that proves it, on MQTT.
        broker_tls: On RabbitMQ, the folder of our certificate: ``cert.pem``, ``key.pem`` and the
            roots in ``trust.pem``.
        share: ``"0/2"`` = worker 0 of 2: which hubs are ours.
    """

    broker_url: str
    broker_token_file: Path | None = None
    broker_tls: Path | None = None
    share: Share = EVERY_HUB


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(Settings):
    """What the API needs.

    Attributes:
        api_bind: ``host:port``, loopback until people can sign in.
        prometheus_multiproc_dir: Where every process keeps its metrics; None: show only our own.
    """

    api_bind: str = "127.0.0.1:8080"
    prometheus_multiproc_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings(CommonSettings):
    """What replaying a log needs; databases are named on its command line.

    Attributes:
        broker_url: RabbitMQ's nodes: ``amqps://host:port[,host:port...]``.
        broker_tls: The folder of our certificate: ``cert.pem``, ``key.pem``, ``trust.pem``.
    """

    broker_url: str
    broker_tls: Path


S = TypeVar("S", bound=CommonSettings)


def _log_form(text: str) -> LogForm:
    if text == "json":
        return "json"
    if text == "console":
        return "console"
    raise ValueError("json or console")


_PARSED: Final[Mapping[str, Callable[[str], Any]]] = {
    "log": _log_form,
    "broker_token_file": Path,
    "broker_tls": Path,
    "share": Share.parse,
    "backfill_from": date.fromisoformat,
    "prometheus_multiproc_dir": Path,
}
_NAMED_BY_OTHERS: Final = {"prometheus_multiproc_dir": "PROMETHEUS_MULTIPROC_DIR"}


def read(kind: type[S], environment: Mapping[str, str] = os.environ) -> S:
    """Return the settings in ``HEADGATE_*``.

    Raises:
        OperatorError: A variable is missing or makes no sense; every such one is named.
    """
    values: dict[str, Any] = {}
    faults = []
    for each in fields(kind):
        variable = _NAMED_BY_OTHERS.get(each.name, f"HEADGATE_{each.name.upper()}")
        text = environment.get(variable)
        try:
            if text is not None:
                values[each.name] = _PARSED.get(each.name, str)(text)
            elif each.default is MISSING:
                faults.append(f"{variable} is not set")
        except ValueError as exc:
            faults.append(f"{variable}={text}: {exc}")
    if faults:
        raise OperatorError(
            f"the environment does not say enough: {'; '.join(faults)}",
            hint="headgate up sets all of it; docs/operate.md names every variable",
        )
    return kind(**values)
