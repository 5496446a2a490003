"""The ``headgate`` command: one machine's platform, its parts, and what proves them."""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Water quality from probe to alert: nothing lost, nothing stored twice.",
    epilog="Start with `headgate demo`, or `headgate up` and `headgate hub add HUB --region R`.",
)
hub = typer.Typer(no_args_is_help=True, help="Enrol the hubs that may speak to this platform.")
app.add_typer(hub, name="hub")

_STAGES: Final = ("ingest", "detect", "alert", "refresh", "api", "http")
_DOORS: Final = ("http", "sensors")  # the second needs a cluster, so `up` does not start it
_ROLES: Final = ("gateway", *_STAGES, "sensors")
_PASSED_ON: Final[dict[str, Any]] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
_OTHERS: Final = {
    "demo": "Start everything and watch the river run: sensors, hubs, alerts, the count.",
    "prove": "Kill processes and cut links under a flood, then compare with the oracle.",
    "bench": "Measure wire, hub, ingest, cluster and alert, or growth and rivals, against targets.",
}

HomeOption = Annotated[
    Path | None,
    typer.Option(
        help="Data directory. Default: HEADGATE_HOME, else ~/.local/share/headgate "
        "(/var/lib/headgate as root).",
        show_default=False,
    ),
]


@app.command()
def up(
    home: HomeOption = None,
    ingest_workers: Annotated[
        int, typer.Option(min=1, max=64, help="How many ingest processes share the hubs.")
    ] = 1,
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Run only this stage; repeat for more.", show_default=False),
    ] = None,
) -> None:
    """Start PostgreSQL, the broker and every stage; keep them running until Ctrl-C.

    Needs no root and no containers; listens on this machine only. Whatever dies is started again;
    nothing outlives this command. HEADGATE_POSTGRES=system|embedded chooses whose PostgreSQL.

    Exit status: 0 stopped as asked, 1 could not start.
    """
    from headgate.stack.up import run

    if unknown := set(stage or ()) - set(_STAGES):
        raise typer.BadParameter(f"no such stage: {', '.join(sorted(unknown))}")
    stages = tuple(stage) if stage else _STAGES
    raise typer.Exit(run(_home(home), ingest_workers=ingest_workers, stages=stages))


@app.command()
def run(
    role: Annotated[str, typer.Argument(help=f"One of: {', '.join(_ROLES)}.")],
) -> None:
    """Run one stage in the foreground, against the neighbours HEADGATE_* variables name."""
    if role not in _ROLES:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(_ROLES)}")
    if role == "gateway":
        _become("gateway", "mqtt")
    if role in _DOORS:
        _become("gateway", role)
    _become("cloud", role)


@hub.command("add")
def hub_add(
    hub_id: Annotated[str, typer.Argument(metavar="HUB", help="Its name, [a-z0-9-].")],
    region: Annotated[str, typer.Option(help="Where it stands, [a-z0-9-].")],
    home: HomeOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for edge.toml and the token.", show_default=False)
    ] = None,
) -> None:
    """Enrol a hub: prints the path of its edge.toml. The platform may be running or not.

    Then, on the hub: headgate-edge run --config edge.toml
    """
    import asyncio

    from headgate.stack.enrolment import add_hub
    from headgate.stack.errors import StackError
    from headgate.stack.layout import Home, read_facts

    place = Home(_home(home))
    facts = read_facts(place)
    if facts is None:
        _fail(f"no platform has ever run in {place.root}", "headgate up")
    try:
        path = asyncio.run(add_hub(place, facts, hub_id, region, folder=out))
    except StackError as exc:
        _fail(str(exc.args[0]), exc.hint)
    typer.echo(path)
    typer.echo(f"next: headgate-edge run --config {path}", err=True)


@app.command()
def doctor(
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what is wrong on this machine and what to type next. Exit status 1 if anything is."""
    from headgate.doctor import examine, is_well, report
    from headgate.stack.layout import Home

    checks = examine(Home(_home(home)))
    if as_json:
        typer.echo(json.dumps(report(checks)))
    else:
        for each in checks:
            typer.echo(f"{each.state:5}  {each.name:15} {each.says}")
            if each.hint:
                typer.echo(f"{'':22} -> {each.hint}")
    raise typer.Exit(0 if is_well(checks) else 1)


@app.command(context_settings=_PASSED_ON)
def sim(context: typer.Context) -> None:
    """Simulated sensors, floods and replays: `headgate sim --help` lists them.

    `headgate sim replay FILE --map MAP` needs nothing else: it starts a platform of its own and
    compares every value. With --broker and --ledger it feeds a hub that runs already.
    """
    if context.args[:1] == ["replay"] and not {"--broker", "--ledger"} & set(context.args):
        from headgate.replay import run as replay
        from headgate.stack.errors import StackError

        try:
            raise typer.Exit(replay(context.args[1:]))
        except StackError as exc:
            _fail(str(exc.args[0]), exc.hint)
    _become("firmware_sim", *context.args)


@app.command(context_settings=_PASSED_ON)
def certs(context: typer.Context) -> None:
    """Keys and certificates for servers, hubs and services: `headgate certs --help` lists them."""
    os.environ.setdefault("HEADGATE_HOME", str(_home(None)))
    _become("certs", *context.args)


@app.command(context_settings=_PASSED_ON)
def cluster(context: typer.Context) -> None:
    """RabbitMQ: declare it, check it, let hubs in: `headgate cluster --help` lists them."""
    _become("gateway", "cluster", *context.args)


@app.command(context_settings=_PASSED_ON)
def trace(context: typer.Context) -> None:
    """Follow one reading, hop by hop: headgate trace SENSOR TIME.

    Reads the database of the platform in HEADGATE_HOME, or the one HEADGATE_DATABASE_URL names.
    """
    _name_database()
    _become("cloud", "trace", *context.args)


@app.command(context_settings=_PASSED_ON)
def dlq(context: typer.Context) -> None:
    """Dead letters: list, show, replay, drop. `headgate dlq --help` says more.

    Uses the database of the platform in HEADGATE_HOME, or the one HEADGATE_DATABASE_URL names.
    """
    if not {"-h", "--help"} & set(context.args):
        _name_database()
    _become("cloud", "dlq", *context.args)


@app.command(context_settings=_PASSED_ON)
def replay(context: typer.Context) -> None:
    """Rebuild a region's readings from its log, into an empty database: `headgate replay --help`.

    Another thing than `headgate sim replay`, which plays a recorded file to a platform of its own.
    """
    _become("cloud", "replay", *context.args)


def _register_others() -> None:
    """Add the commands whose module reads its own options: ``run(arguments) -> exit status``."""
    for name, help_text in _OTHERS.items():
        if find_spec(f"headgate.{name}") is not None:
            app.command(name, help=help_text, context_settings=_PASSED_ON)(_other(name))


def _other(name: str) -> Callable[[typer.Context], None]:
    def call(context: typer.Context) -> None:
        raise typer.Exit(import_module(f"headgate.{name}").run(context.args))

    return call


def _name_database() -> None:
    """Name the platform's own database, unless the environment names one."""
    from headgate.stack.layout import Home, read_facts
    from headgate.stack.postgres import address

    place = Home(_home(None))
    facts = read_facts(place)
    if "HEADGATE_DATABASE_URL" not in os.environ and facts is not None:
        if not place.is_up():
            _fail(f"the platform in {place.root} does not run", "headgate up")
        os.environ["HEADGATE_DATABASE_URL"] = address(facts.postgres_port, place.passfile)


def _become(program: str, *arguments: str) -> NoReturn:
    """Replace this process: the program gets our signals and gives our exit status."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", program, *arguments])


def _home(chosen: Path | None) -> Path:
    from headgate.stack.layout import default_home

    return (chosen or default_home(dict(os.environ))).absolute()


def _fail(says: str, hint: str) -> NoReturn:
    typer.echo(f"headgate: {says}\n  -> {hint}", err=True)
    raise typer.Exit(1)


_register_others()


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
