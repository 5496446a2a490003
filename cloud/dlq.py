"""``dlq``: the words of the command line. Imports nothing else: every stage's start reads it."""

import argparse
from typing import Final

ABOUT: Final = """\
Dead letters: batches the store refused, contents under a key that is taken, and batches in another
hub's name. Each is kept with its bytes and its reason until somebody decides.
"""
_EXAMPLES: Final = """\
examples:
  headgate dlq list --hub hub-7
  headgate dlq show 12
  headgate dlq replay 12
  headgate dlq list --reason "batch samples" --ids | xargs headgate dlq replay

exit status: 0 done, 1 some of it is not
"""
_REPLAY: Final = """\
Judge letters again, each alone, as ingest would if it came now: for when the fault was ours and
is mended. What is good is stored once under its own key, with its rows judged one by one, and
detection evaluates it. What is still bad stays, with one attempt more and its new reason.
Safe to repeat and to kill at any moment, whatever hubs resend meanwhile.
"""
_DROP: Final = """\
Record that letters are never to be stored, by whom and when. The record and the bytes stay; the
hub's share of letters gets room. There is no way back.
"""


def describe(command: argparse.ArgumentParser) -> None:
    """Give a parser the words ``list``, ``show``, ``replay`` and ``drop``."""
    command.prog = "headgate dlq"
    command.description, command.epilog = ABOUT, _EXAMPLES
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    words = command.add_subparsers(dest="word", required=True, metavar="COMMAND")

    def word(name: str, about: str, told: str = "") -> argparse.ArgumentParser:
        added = words.add_parser(
            name,
            help=about,
            description=told or f"{about[0].upper()}{about[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.add_argument("--json", action="store_true", help="one JSON object")
        return added

    _describe_list(word("list", "what there is, newest first"))
    show = word("show", "one letter: the head of its bytes, and what can be read of it today")
    show.add_argument("letter", type=_number, metavar="ID", help="its number in the list")
    for name, about, told in (
        ("replay", "judge letters again, and store what is good by now", _REPLAY),
        ("drop", "decide that letters are never to be stored", _DROP),
    ):
        decide = word(name, about, told)
        decide.add_argument("letters", type=_number, nargs="+", metavar="ID", help="which")
        decide.add_argument("--by", type=_name, help="who decides; default: this account")


def _describe_list(command: argparse.ArgumentParser) -> None:
    command.add_argument("--hub", help="of one hub")
    command.add_argument("--reason", default="", help="whose reason begins so")
    command.add_argument(
        "--state",
        choices=("kept", "replayed", "dropped", "all"),
        default="kept",
        help="%(default)s",
    )
    command.add_argument(
        "--limit", type=_limit, default=100, metavar="N", help="at most 1000; default: %(default)s"
    )
    command.add_argument(
        "--before", type=_number, default=2**63 - 1, metavar="ID", help="go on below this number"
    )
    command.add_argument("--ids", action="store_true", help="only the numbers, one a line")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"{text!r} is no letter's number")
    return int(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1_000):
        raise argparse.ArgumentTypeError("a page has 1 to 1000 letters")
    return int(text)


def _name(text: str) -> str:
    if not (text.isprintable() and 0 < len(text.strip()) <= 64):
        raise argparse.ArgumentTypeError("a name has 1 to 64 printable characters")
    return text.strip()
