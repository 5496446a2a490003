"""``headgate certs``: the commands of the small PKI, for people and (``--json``) for scripts."""

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, TypeAlias

from certs.authority import holders, look, rotate
from certs.authority.disk import RealDisk
from certs.authority.pki import Pki, looked_at, opened
from certs.authority.request import make_request
from certs.authority.settle import settle
from certs.authority.store import REVOKED
from certs.core.errors import CertsError
from certs.core.ledger import Entry, Reason
from certs.core.names import role_of
from certs.core.profile import HOLDERS, Role
from wire.clock import SystemClock
from wire.errors import HeadgateError

EPILOG: Final = """\
the first minutes:
  headgate certs init                                   a root and its issuing authority
  headgate certs issue server broker-1 --dns broker.example.org
  headgate certs issue hub hub-7                        prints the folder to carry to the hub
  headgate certs check                                  what expires when, and what to type

exit status: 0 done, 1 refused or something is due (it says what to type), 2 wrong usage
"""
Answer: TypeAlias = tuple[dict[str, Any], list[str]]
"""What a command tells scripts, and the lines it tells people."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run one command; return the exit status. A refusal goes to standard error."""
    asked = _parser(environment.get("HEADGATE_HOME")).parse_args(arguments)
    try:
        told, lines = COMMANDS[asked.command](asked)
    except HeadgateError as refusal:
        hint = refusal.hint if isinstance(refusal, CertsError) else ""
        if asked.json:
            sys.stdout.write(json.dumps({"error": str(refusal.args[0]), "hint": hint}) + "\n")
        sys.stderr.write(f"headgate certs: {refusal}\n")
        return 1
    sys.stdout.write(json.dumps(told) + "\n" if asked.json else "".join(f"{x}\n" for x in lines))
    return 1 if told.get("faults") else 0


def _init(asked: argparse.Namespace) -> Answer:
    with _opened(asked) as pki:
        is_new = rotate.establish(pki)
        told = _entry(pki.issuer()) | {"is_new": is_new, "root_keys": str(pki.root_keys)}
        lines = [
            f"{'made' if is_new else 'there is'} an authority in {pki.store.root}",
            f"the root's key is in {pki.root_keys}: keep it elsewhere, it is needed to rotate only",
        ]
    return told, lines


def _issue(asked: argparse.Namespace) -> Answer:
    request = _read(asked.csr) if asked.csr else None
    with _opened(asked) as pki:
        done = holders.issue(
            pki, Role(asked.role), asked.name, dns=asked.dns, ip=asked.ip, request=request
        )
    what = "signed" if done.is_new else "in force already"
    return _issued(done), [str(done.folder), f"{what}, until {_date(done.entry.not_after_ms)}"]


def _request(asked: argparse.Namespace) -> Answer:
    path = make_request(asked.out, asked.name, RealDisk())
    role = role_of(asked.name) or Role.HUB
    return {"request": str(path)}, [
        str(path),
        f"carry it to the platform: headgate certs issue {role} {asked.name} --csr {path.name}",
    ]


def _renew(asked: argparse.Namespace) -> Answer:
    with _opened(asked) as pki:
        done = holders.renew(pki)
    return {"renewed": [_issued(each) for each in done]}, [
        *(f"renewed  {each.entry.role} {each.entry.name}  {each.folder}" for each in done),
        f"{len(done)} renewed",
    ]


def _revoke(asked: argparse.Namespace) -> Answer:
    with _opened(asked) as pki:
        taken = holders.revoke(pki, Role(asked.role), asked.name, Reason(asked.reason))
        path = pki.store.root / REVOKED
    return {"revoked": [_entry(each) for each in taken], "list": str(path)}, [
        f"revoked  {asked.role} {asked.name}: {len(taken)} certificates; the list is {path}"
    ]


def _crl(asked: argparse.Namespace) -> Answer:
    with _opened(asked) as pki:
        is_whole = settle(pki)
        path = pki.store.root / REVOKED
    hint = "" if is_whole else "a root's list wants its key: add --root-dir FOLDER"
    return {"list": str(path), "is_whole": is_whole}, [str(path), *([hint] if hint else [])]


def _rotate(asked: argparse.Namespace) -> Answer:
    with _opened(asked) as pki:
        if asked.finish:
            gone = rotate.finish(pki, force=asked.force)
            return {"retired": [_entry(each) for each in gone]}, [
                *(f"retired  {each.name}" for each in gone),
                f"{len(gone)} retired",
            ]
        current = rotate.rotate(pki, new_root=asked.new_root, root_lost=asked.root_lost)
        told = _entry(current) | {"trust": str(pki.trust_file)}
    return told, [
        f"{current.name} signs from now on; what the one before signed stays trusted",
        "next: headgate certs renew, hand the new ones over, headgate certs rotate --finish",
    ]


def _list(asked: argparse.Namespace) -> Answer:
    found = look.rows(_looked_at(asked))
    return {
        "certificates": [
            _entry(row.entry) | {"state": row.state, "folder": str(row.folder)} for row in found
        ]
    }, [
        f"{row.entry.role:8} {row.entry.name:24} {row.state:9} {_date(row.entry.not_after_ms)}  "
        f"{row.entry.serial:x}"
        for row in found
    ]


def _check(asked: argparse.Namespace) -> Answer:
    pki = _looked_at(asked)
    advice, ends = look.advice(pki), look.expiries(pki)
    told = {
        "faults": [{"what": a.what, "type": a.type_this} for a in advice if a.is_fault],
        "notes": [{"what": a.what, "type": a.type_this} for a in advice if not a.is_fault],
        "expires": [_entry(each) for each in ends],
    }
    lines = [f"{_date(each.not_after_ms)}  {each.role:8} {each.name}" for each in ends]
    for each in advice:
        lines += [f"{'FAULT' if each.is_fault else 'note'}  {each.what}", f"  -> {each.type_this}"]
    return told, lines if advice else [*lines, "all well"]


COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], Answer]]] = {
    "init": _init,
    "issue": _issue,
    "request": _request,
    "renew": _renew,
    "revoke": _revoke,
    "crl": _crl,
    "rotate": _rotate,
    "list": _list,
    "check": _check,
}


def _parser(home: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headgate certs",
        description="Keys and certificates for servers, hubs, services and sensors.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="one JSON object")
    place = argparse.ArgumentParser(add_help=False, parents=[machine])
    place.add_argument(
        "--home",
        type=Path,
        default=Path(home) if home else None,
        required=not home,
        help="data directory (default: HEADGATE_HOME); everything lies in its pki/",
    )
    place.add_argument("--root-dir", type=Path, help="where the roots' keys are (pki/offline)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, says: str, under: argparse.ArgumentParser = place
    ) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=says, description=says, parents=[under], allow_abbrev=False
        )

    add("init", "make the root and the issuing authority, unless they are there")
    _holder_options(add("issue", "sign for one of these, unless it has what it needs"))
    asks = add("request", "on a hub: make its key and a request to be signed", machine)
    asks.add_argument("name", help="its hub id")
    asks.add_argument("--out", type=Path, required=True, help="folder for key.pem and request.csr")
    add("renew", "sign anew whatever is due, refresh the lists; once a day by a timer")
    takes = add("revoke", "take back every certificate of a holder, for ever")
    takes.add_argument("role", choices=[*HOLDERS])
    takes.add_argument("name")
    takes.add_argument("--reason", choices=[*Reason], default=Reason.UNSPECIFIED)
    add("crl", "refresh the revocation lists and print where they are")
    _rotate_options(add("rotate", "a new issuing authority; both are trusted until --finish"))
    add("list", "every certificate that was signed")
    add("check", "what expires when, what is wrong, and what to type; exit status 1 if anything is")
    return parser


def _holder_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role", choices=[*HOLDERS])
    parser.add_argument("name", help="[a-z0-9-]{1,64}; a hub's is its hub id")
    parser.add_argument("--dns", action="append", default=[], help="a server's host name; repeat")
    parser.add_argument("--ip", action="append", default=[], help="a server's address; repeat")
    parser.add_argument("--csr", type=Path, help="signing request, if its holder keeps the key")


def _rotate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--new-root", action="store_true", help="a new root too")
    parser.add_argument("--root-lost", action="store_true", help="the old root's key is lost")
    parser.add_argument("--finish", action="store_true", help="trust the old one no longer")
    parser.add_argument(
        "--force", action="store_true", help="finish although some are left outside"
    )


def _opened(asked: argparse.Namespace) -> AbstractContextManager[Pki]:
    return opened(asked.home, now_ms=SystemClock().now_ms(), root_keys=asked.root_dir)


def _looked_at(asked: argparse.Namespace) -> Pki:
    return looked_at(asked.home, now_ms=SystemClock().now_ms(), root_keys=asked.root_dir)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 16)
    except OSError as exc:
        raise CertsError(f"cannot read {path}: {exc.strerror}", hint="name a file") from exc


def _issued(done: holders.Issued) -> dict[str, Any]:
    return _entry(done.entry) | {"folder": str(done.folder), "is_new": done.is_new}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "role": entry.role,
        "name": entry.name,
        "serial": f"{entry.serial:x}",
        "issuer": f"{entry.issuer:x}",
        "not_before": _date(entry.not_before_ms),
        "not_after": _date(entry.not_after_ms),
        "key_sha256": entry.key_sha256,
        "alt_names": [str(each) for each in entry.alt_names],
    }


def _date(time_ms: int) -> str:
    when = datetime.datetime.fromtimestamp(time_ms / 1_000, tz=datetime.UTC)
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
