"""``python -m cloud STAGE``: one process a stage. A stage's imports wait until it is asked for."""

import asyncio
import sys
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import ValidationError

from cloud.run.service import set_up_log
from cloud.settings import Settings
from wire.errors import HeadgateError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

S = TypeVar("S", bound=Settings)
_FROM_ENVIRONMENT: Final[dict[str, Any]] = {}


def read_settings(kind: type[S]) -> S:
    """Return the environment's settings, with the log set up as they say."""
    try:
        settings = kind(**_FROM_ENVIRONMENT)
    except ValidationError as exc:
        fields = "".join(f"  HEADGATE_{e['loc'][0]}: {e['msg']}\n".upper() for e in exc.errors())
        raise SystemExit(f"the environment does not say enough:\n{fields}") from exc
    set_up_log(settings.log)
    return settings


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from cloud.run.schema import run_migrate

    asyncio.run(run_migrate(read_settings(Settings)))


@app.command("store-id")
def store_id() -> None:
    """Print the name hubs pin this store by."""
    from cloud.run.schema import run_store_id

    typer.echo(asyncio.run(run_store_id(read_settings(Settings))))


@app.command()
def ingest() -> None:
    """Store what hubs send, and give them receipts."""
    from cloud.run.ingest import run_ingest
    from cloud.run.service import serve
    from cloud.settings import StageSettings

    serve(run_ingest(read_settings(StageSettings)))


@app.command()
def api() -> None:
    """Answer readers over HTTP, on the loopback interface."""
    from cloud.run.api import run_api
    from cloud.run.service import serve
    from cloud.settings import ApiSettings

    serve(run_api(read_settings(ApiSettings)))


@app.command()
def detect() -> None:
    """Turn batches into findings."""
    from cloud.run.detect import run_detect
    from cloud.run.service import serve
    from cloud.settings import StageSettings

    serve(run_detect(read_settings(StageSettings)))


@app.command()
def alert() -> None:
    """Turn findings into alerts."""
    from cloud.run.alert import run_alert
    from cloud.run.service import serve
    from cloud.settings import StageSettings

    serve(run_alert(read_settings(StageSettings)))


@app.command()
def refresh() -> None:
    """Keep what hubs say of themselves up to date."""
    from cloud.run.refresh import run_refresh
    from cloud.run.service import serve
    from cloud.settings import StageSettings

    serve(run_refresh(read_settings(StageSettings)))


@app.command()
def trace(
    sensor: Annotated[int, typer.Argument(min=0, help="the sensor's number")],
    time: Annotated[str, typer.Argument(help="ISO 8601 with an offset, or Unix milliseconds")],
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show every hop of one reading, or say why it is not stored."""
    from cloud.run.trace import run_trace

    typer.echo(asyncio.run(run_trace(read_settings(Settings), sensor, time, as_json=as_json)))


def main() -> None:
    """Run the command line; an expected failure is one line on standard error and status 1."""
    try:
        app()
    except HeadgateError as exc:
        sys.exit(f"error: {exc}")


if __name__ == "__main__":
    main()
