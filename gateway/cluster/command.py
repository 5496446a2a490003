"""``gateway cluster``: the topology, who may enter, and whether all of it is safe."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cluster.ports import Management
from wire.errors import HeadgateError
from wire.ids import HubId, Region, SensorId
from wire.limits import SENSOR_ID_MAX

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=__doc__)

Url = Annotated[
    str, typer.Option("--management", envvar="HEADGATE_MANAGEMENT_URL", help="RabbitMQ's HTTP API.")
]
User = Annotated[str, typer.Option(envvar="HEADGATE_MANAGEMENT_USER", help="An administrator.")]
PasswordFile = Annotated[
    Path, typer.Option(envvar="HEADGATE_MANAGEMENT_PASSWORD_FILE", help="Holds the password.")
]
Regions = Annotated[
    list[str] | None, typer.Option("--region", help="Where hubs stand; may be given again.")
]
HubArgument = Annotated[str, typer.Argument(metavar="HUB", help="Its certificate's common name.")]

_URL: Final = "http://127.0.0.1:15672"
_ADMIN: Final = "headgate-admin"


@app.command()
def declare(
    password_file: PasswordFile, region: Regions = None, url: Url = _URL, user: User = _ADMIN
) -> None:
    """Make every exchange, queue, policy and stage's user that is missing. Idempotent."""
    from gateway.cluster.service import declare as put_there

    regions = {Region(each) for each in region or ()}
    _at(url, user, password_file, lambda api: put_there(api, regions))


@app.command()
def check(
    password_file: PasswordFile,
    conf: Annotated[Path | None, typer.Option(help="A rabbitmq.conf to look at, too.")] = None,
    url: Url = _URL,
    user: User = _ADMIN,
) -> None:
    """Say what is unsafe about the running cluster; exit status 1 if anything is."""
    from gateway.cluster.check import conf_faults, faults
    from gateway.cluster.service import look

    async def judge(api: Management) -> None:
        found = faults(await look(api)) + (conf_faults(conf.read_text()) if conf else [])
        for each in found:
            typer.echo(each)
        if found:
            raise typer.Exit(1)

    _at(url, user, password_file, judge)


@app.command()
def enrol(
    hub: HubArgument,
    region: Annotated[str, typer.Option(help="Where it stands, [a-z0-9-].")],
    password_file: PasswordFile,
    url: Url = _URL,
    user: User = _ADMIN,
) -> None:
    """Let a hub in by its certificate, to its own topics. Idempotent."""
    from gateway.cluster.service import enrol as let_in

    _at(url, user, password_file, lambda api: let_in(api, Region(region), HubId(hub)))


@app.command("enrol-door")
def enrol_door(
    door: Annotated[str, typer.Argument(help="http-0, sensors-0 ...: one name a replica.")],
    region: Annotated[str, typer.Option(help="Where it stands, [a-z0-9-].")],
    password_file: PasswordFile,
    url: Url = _URL,
    user: User = _ADMIN,
) -> None:
    """Let a door in by the certificate of its service, to its own topics. Idempotent."""
    from gateway.cluster.service import enrol_door as let_in

    _at(url, user, password_file, lambda api: let_in(api, Region(region), HubId(door)))


@app.command("enrol-sensor")
def enrol_sensor(
    sensor: Annotated[int, typer.Argument(min=0, max=SENSOR_ID_MAX, help="Its number.")],
    password_file: PasswordFile,
    url: Url = _URL,
    user: User = _ADMIN,
) -> None:
    """Let a sensor without a hub in by its certificate `sensor-NUMBER`. Idempotent."""
    from gateway.cluster.service import enrol_sensor as let_in

    _at(url, user, password_file, lambda api: let_in(api, SensorId(sensor)))


@app.command()
def revoke(
    hub: HubArgument, password_file: PasswordFile, url: Url = _URL, user: User = _ADMIN
) -> None:
    """Shut a hub out and end its connections. Idempotent."""
    from gateway.cluster.service import revoke as show_out
    from wire.clock import SystemClock

    _at(url, user, password_file, lambda api: show_out(api, HubId(hub), SystemClock()))


@app.command()
def files(
    folder: Annotated[Path, typer.Argument(help="Where they go.")], region: Regions = None
) -> None:
    """Write definitions.json and the rabbitmq.conf all nodes share."""
    from gateway.cluster.files import conf, render

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "definitions.json").write_text(render({Region(each) for each in region or ()}))
    (folder / "rabbitmq.conf").write_text(conf())


def _at(
    url: str, user: str, password_file: Path, work: Callable[[Management], Awaitable[None]]
) -> None:
    """Do some work at a broker; an expected failure is one line and status 2."""
    from gateway.adapters.rabbitmq import management

    async def run() -> None:
        async with management(url, user, password_file.read_text().strip()) as api:
            await work(api)

    try:
        asyncio.run(run())
    except (HeadgateError, OSError) as exc:
        typer.echo(f"gateway: {exc}", err=True)
        raise typer.Exit(2) from exc
