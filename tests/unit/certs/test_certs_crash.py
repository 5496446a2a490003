"""Killed at any step, the PKI stays usable, and the same command finishes the work."""

import json
import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from certs.authority import holders, rotate, x509
from certs.authority.pki import Pki, looked_at
from certs.authority.settle import is_stale, settle
from certs.core.ledger import Reason
from certs.core.plan import State, in_force, state, trusted
from certs.core.profile import HOLDERS, Role
from certs.tls import client_context, server_context
from tests.support.certs import NOW_MS, Died, DyingDisk, Platform, holder_folders, keys

pytestmark = pytest.mark.spec("U8")
Command = Callable[[Pki], object]


def init(pki: Pki) -> object:
    return rotate.establish(pki)


def issue_hub(pki: Pki) -> object:
    return holders.issue(pki, Role.HUB, "hub-9")


def issue_server(pki: Pki) -> object:
    return holders.issue(pki, Role.SERVER, "door", dns=["door.example.org", "new.example.org"])


def revoke(pki: Pki) -> object:
    return holders.revoke(pki, Role.HUB, "hub-7", Reason.KEY_COMPROMISE)


def rotate_all(pki: Pki) -> object:
    return rotate.rotate(pki, new_root=True)


def renew(pki: Pki) -> object:
    return holders.renew(pki)


def finish(pki: Pki) -> object:
    return rotate.finish(pki, force=True)


SCRIPTS: dict[str, tuple[list[Command], Command]] = {
    "init": ([], init),
    "issue a hub": ([init], issue_hub),
    "issue a server anew": ([init], issue_server),
    "revoke": ([init], revoke),
    "rotate": ([init], rotate_all),
    "renew all": ([init, rotate_all], renew),
    "finish": ([init, rotate_all, renew], finish),
}


def prepared(home: Path, before: list[Command]) -> Platform:
    """Return a platform with two holders on which some commands were run."""
    platform = Platform(home)
    for number, command in enumerate(before):
        with platform.at() as pki:
            command(pki)
            if number == 0:
                holders.issue(pki, Role.HUB, "hub-7")
                holders.issue(pki, Role.SERVER, "door", dns=["door.example.org"])
    return platform


def copied(template: Platform, home: Path) -> Platform:
    if template.home.exists():
        shutil.copytree(template.home, home, symlinks=True)
    return Platform(home)


def is_usable(platform: Platform) -> None:
    """What a door, a hub and an administrator need right now, before anybody mended anything."""
    pki = looked_at(platform.home, now_ms=NOW_MS)
    ledger = pki.store.ledger
    for folder in holder_folders(platform.pki):
        entry = ledger.entries[int(folder.name, 16)]  # else it could not be taken back
        if entry.role not in (Role.ROOT, Role.CROSS):
            x509.signer((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
    for name in ("hubs/hub-7", "servers/door"):
        if (holder := platform.pki / name).exists():
            assert (holder / "current" / "cert.pem").exists()
    if trusted(ledger, NOW_MS):
        assert platform.trust.exists() or not holder_folders(platform.pki / "hubs")
    for place in (platform.trust, platform.revoked):
        assert not place.exists() or place.read_bytes().endswith(b"-----\n")


def meet(platform: Platform) -> bool:
    """Return whether a hub and a door with what lies in their folders let each other in."""
    door = server_context(
        platform.folder(Role.SERVER, "door"), trust=platform.trust, revoked=platform.revoked
    )
    dial = client_context(platform.trust, identity=platform.folder(Role.HUB, "hub-7"))
    to_door, to_hub = ssl.MemoryBIO(), ssl.MemoryBIO()
    shores = [
        dial.wrap_bio(to_hub, to_door, server_hostname="door.example.org"),
        door.wrap_bio(to_door, to_hub, server_side=True),
    ]
    for _ in range(4):
        for shore in shores:
            with suppress(ssl.SSLWantReadError):
                shore.do_handshake()
    return shores[1].getpeercert() is not None


def is_settled(platform: Platform) -> None:
    """Everything made from the index says what the index says, and nothing lies about."""
    pki = looked_at(platform.home, now_ms=NOW_MS)
    ledger = pki.store.ledger
    authorities = in_force(ledger, NOW_MS, Role.ISSUING)
    for entry in (*authorities, *trusted(ledger, NOW_MS)):
        assert not is_stale(pki, entry)
    assert platform.trust.read_bytes() == pki.trust()
    listed = platform.revoked.read_bytes().count(b"BEGIN X509 CRL")
    assert listed == len(authorities) + len(trusted(ledger, NOW_MS))
    assert list((platform.pki / "drafts").iterdir()) == []
    for line in (platform.pki / "index.jsonl").read_bytes().splitlines():
        json.loads(line)
    for entry in in_force(ledger, NOW_MS, *HOLDERS):
        current = platform.folder(entry.role, entry.name).resolve()
        assert state(ledger, ledger.entries[int(current.name, 16)], NOW_MS) is State.IN_FORCE


@pytest.mark.parametrize("how", ["before", "half", "after"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_at_any_step_it_stays_usable_and_the_same_command_finishes(
    tmp_path: Path, script: str, how: str
) -> None:
    before, command = SCRIPTS[script]
    at, template = 0, prepared(tmp_path / "template", before)
    while True:
        platform = copied(template, tmp_path / str(at))
        kept = keys(platform.home)
        disk = DyingDisk(at, how=how)
        try:
            with platform.at(disk=disk) as pki:
                command(pki)
        except Died:
            pass
        else:
            break
        is_usable(platform)
        if before and script != "revoke":
            assert meet(platform), "a hub and a door that had nothing to do with it are cut off"
        for place in (platform.home, platform.pki):
            assert not place.exists() or place.stat().st_mode & 0o777 == 0o700
        with platform.at() as pki:
            command(pki)
            done = command(pki)  # and once more: nothing is left to do
        is_usable(platform)
        is_settled(platform)
        after = keys(platform.home)
        assert {place: after.get(place) for place in kept} == kept, "a key was overwritten"
        assert_done(platform, script, done)
        at += 1
    assert at == disk.steps > 3


def assert_done(platform: Platform, script: str, again: object) -> None:
    """The command's own promise holds, and the second run changed nothing."""
    pki = looked_at(platform.home, now_ms=NOW_MS)
    ledger = pki.store.ledger
    authorities = in_force(ledger, NOW_MS, Role.ISSUING)
    match script:
        case "init":
            assert again is False
            assert len(authorities) == len(trusted(ledger, NOW_MS)) == 1
        case "issue a hub" | "issue a server anew":
            assert isinstance(again, holders.Issued)
            assert not again.is_new
            assert (again.folder / "key.pem").exists()
        case "revoke":
            assert again == []
            assert not in_force(ledger, NOW_MS, Role.HUB)
        case "rotate":
            assert len(authorities) == len(trusted(ledger, NOW_MS)) == 2
        case "renew all":
            assert again == []
        case _:
            assert again == []
            assert [each.name for each in authorities] == ["issuing-2"]


def test_a_revocation_cut_short_before_the_list_is_mended_by_any_command(tmp_path: Path) -> None:
    platform = prepared(tmp_path, [init])
    with pytest.raises(Died), platform.at(disk=DyingDisk(2, how="after")) as pki:
        revoke(pki)  # two folders are made sure of, then the revocation is entered
    with platform.at() as pki:
        (authority,) = in_force(pki.store.ledger, NOW_MS, Role.ISSUING)
        assert is_stale(pki, authority)
        settle(pki)
        assert not is_stale(pki, authority)
        assert not in_force(pki.store.ledger, NOW_MS, Role.HUB)


@pytest.mark.parametrize("how", ["before", "half", "after"])
def test_killed_again_while_mending_it_is_mended_by_the_next(tmp_path: Path, how: str) -> None:
    at, template = 0, prepared(tmp_path / "template", [init])
    while True:
        platform = copied(template, tmp_path / str(at))
        torn_line = DyingDisk(6, how="half")  # after three folders and the hub's three files
        with pytest.raises(Died), platform.at(disk=torn_line) as pki:
            issue_hub(pki)
        assert not (platform.pki / "index.jsonl").read_bytes().endswith(b"\n")
        disk = DyingDisk(at, how=how)
        try:
            with platform.at(disk=disk) as pki:
                issue_hub(pki)
        except Died:
            pass
        else:
            break
        is_usable(platform)
        with platform.at() as pki:
            issue_hub(pki)
        is_settled(platform)
        at += 1
    assert at > 10


def test_a_line_cut_short_in_the_index_was_never_there(tmp_path: Path) -> None:
    platform = prepared(tmp_path, [init])
    index = platform.pki / "index.jsonl"
    whole = index.read_bytes()
    with index.open("ab") as file:
        file.write(b'{"issued":"1')
    assert len(looked_at(platform.home, now_ms=NOW_MS).store.ledger.entries) == 4
    with platform.at() as pki:
        settle(pki)
    assert index.read_bytes() == whole
