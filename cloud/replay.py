"""``replay``: the words of the command line. Imports little: every stage's start reads it."""

import argparse
from datetime import datetime
from typing import Final

from wire.ids import is_name

ABOUT: Final = """\
Read what a region's hubs have sent, from an instant on, out of the log RabbitMQ keeps, and store it
again in an empty database: the same batches, the same judgement with the clock of then, each once.
Nobody is told: no receipt, no finding, no alert. Kill it at any moment and say it again; it never
writes into a store something else was stored in.
"""
_EPILOG: Final = """\
examples:
  createdb headgate_scratch
  headgate replay --region north --from 2026-11-20T00:00Z --into postgresql:///headgate_scratch
  headgate replay ... --compare "$HEADGATE_DATABASE_URL"

HEADGATE_BROKER_URL (amqps://host:port[,host:port...]) and HEADGATE_BROKER_TLS (a folder with
cert.pem, key.pem and trust.pem of the service replay) say where the log is.

exit status: 0 done, and equal if compared; 1 not done, say it again; 2 not understood;
3 done, and not equal
"""


def describe(command: argparse.ArgumentParser) -> None:
    """Give a parser the words of ``replay``."""
    command.prog = "headgate replay"
    command.description, command.epilog = ABOUT, _EPILOG
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("--region", type=_region, required=True, help="whose log")
    command.add_argument(
        "--from",
        dest="since",
        type=_instant,
        required=True,
        metavar="T",
        help="logged since: ISO 8601 with an offset; whole seconds count",
    )
    command.add_argument(
        "--until", type=_instant, metavar="T", help="logged before; default: what is there now"
    )
    command.add_argument(
        "--into", required=True, metavar="SCRATCH_URL", help="an empty PostgreSQL database"
    )
    command.add_argument(
        "--sensors-of",
        metavar="URL",
        help="a store whose word on which hub speaks for which sensor is taken first; without it "
        "the first hub in the log that speaks for a sensor does",
    )
    command.add_argument(
        "--compare",
        metavar="URL",
        help="then compare with this store: readings and conflicts observed in [--from, --until)",
    )
    command.add_argument(
        "--compare-until", type=_instant, metavar="T", help="compare what was observed before"
    )
    command.add_argument("--json", action="store_true", help="the last line is one JSON object")


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not ISO 8601") from exc
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset: write Z for UTC")
    return instant


def _region(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no region: [a-z0-9-]")
    return text
