"""``python -m gateway``: the broker's door, and enrolment."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cluster.command import app as cluster
from gateway.core.identity import STAGES, MalformedIdentityError, Role

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=__doc__,
)
app.add_typer(cluster, name="cluster")


@app.callback(help=__doc__)
def begin() -> None:
    """Keep structlog from importing what only draws tracebacks: a third of a start."""
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]


@app.command()
def mqtt() -> None:
    """Serve the embedded MQTT broker (HEADGATE_MQTT_BIND, HEADGATE_IDENTITIES)."""
    from gateway import run  # heavy, and enrolment does not need it
    from gateway.core.bind import ForbiddenBindError
    from gateway.settings import SettingsError, read

    reasons: list[str] = []
    try:
        run.mqtt(read())
    except* (ForbiddenBindError, SettingsError, OSError) as failures:
        reasons = [str(each) for each in failures.exceptions]
    if reasons:
        typer.echo(f"gateway: {'; '.join(reasons)}", err=True)
        raise typer.Exit(2)


@app.command()
def http() -> None:
    """Serve the HTTP door (HEADGATE_HTTP_BIND, HEADGATE_BROKER_URL, HEADGATE_STORE_ID ...)."""
    from gateway import run_http
    from gateway.core.bind import ForbiddenBindError
    from gateway.settings import SettingsError, read_http

    reasons: list[str] = []
    try:
        run_http.http(read_http())
    except* (ForbiddenBindError, SettingsError, ValueError, OSError) as failures:
        reasons = [str(each) for each in failures.exceptions]
    if reasons:
        typer.echo(f"gateway: {'; '.join(reasons)}", err=True)
        raise typer.Exit(2)


@app.command()
def sensors() -> None:
    """Serve sensors that publish to the cluster themselves (HEADGATE_BROKER_URL, ...)."""
    from gateway import run_http
    from gateway.core.bind import ForbiddenBindError
    from gateway.settings import SettingsError, read_sensors

    reasons: list[str] = []
    try:
        run_http.sensors(read_sensors())
    except* (ForbiddenBindError, SettingsError, ValueError, OSError) as failures:
        reasons = [str(each) for each in failures.exceptions]
    if reasons:
        typer.echo(f"gateway: {'; '.join(reasons)}", err=True)
        raise typer.Exit(2)


@app.command()
def enrol(
    name: Annotated[str, typer.Argument(help="User name; a hub's is its hub id.")],
    role: Annotated[Role, typer.Option(help="What the client is for.")],
    region: Annotated[str, typer.Option(help="A hub's region.")],
    identities: Annotated[Path, typer.Option(help="Folder of identity files.")],
    token_file: Annotated[Path, typer.Option(help="Where the client's token goes.")],
    force: Annotated[bool, typer.Option(help="Draw a new token, replacing what is there.")] = False,
) -> None:
    """Enrol a client: an identity file for the broker, a token file for the client."""
    from gateway.adapters.identities import enrol as enrol_files

    try:
        enrol_files(name, role, region, folder=identities, token_file=token_file, force=force)
    except MalformedIdentityError as exc:
        typer.echo(f"gateway: {exc}", err=True)
        raise typer.Exit(2) from exc


@app.command("enrol-stages")
def enrol_stages(
    identities: Annotated[Path, typer.Option(help="Folder of identity files.")],
    tokens: Annotated[Path, typer.Option(help="Folder the tokens go to, as ROLE.token.")],
) -> None:
    """Enrol every stage of the cloud under its role's name. Idempotent."""
    from gateway.adapters.identities import enrol as enrol_files

    for role in STAGES:
        enrol_files(
            role.value,
            role,
            "local",  # stages belong to no region; an identity has one
            folder=identities,
            token_file=tokens / f"{role.value}.token",
        )


if __name__ == "__main__":
    app()
