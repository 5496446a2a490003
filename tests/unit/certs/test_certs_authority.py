"""The authority's promises: nothing overwritten, nothing twice, nothing where it may not be."""

import os
import shutil
import stat
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec

from certs.authority import holders, look, rotate, x509
from certs.authority.disk import RealDisk
from certs.authority.pki import looked_at, opened
from certs.authority.request import make_request
from certs.authority.settle import settle
from certs.core.errors import CertsError
from certs.core.ledger import Reason
from certs.core.plan import in_force, issuer
from certs.core.profile import HOLDERS, PROFILES, Role
from tests.support.certs import DAY_MS, NOW_MS, Platform, holder_folders, keys, openssl

pytestmark = pytest.mark.spec("U8")

NAMES = {role: "sensor-7" if role is Role.SENSOR else f"my-{role}" for role in HOLDERS}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path / "home").found()


def everything(home: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(home)): each.read_bytes() for each in home.rglob("*") if each.is_file()
    }


def advised(platform: Platform, days: float = 0) -> list[str]:
    pki = looked_at(platform.home, now_ms=NOW_MS + round(days * DAY_MS))
    return [each.type_this for each in look.advice(pki) if each.is_fault]


def test_asking_again_changes_not_one_byte(platform: Platform) -> None:
    for role in HOLDERS:
        platform.issue(role, NAMES[role])
    before = everything(platform.home)
    platform.found(days=0.1)
    for role in HOLDERS:
        platform.issue(role, NAMES[role], days=0.1)
    with platform.at(0.1) as pki:
        assert holders.renew(pki) == []
        assert rotate.finish(pki, force=False) == []
    assert everything(platform.home) == before


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    former = os.umask(umask)
    try:
        platform = Platform(tmp_path / "home").found()
        platform.issue(Role.HUB, "hub-7")
    finally:
        os.umask(former)
    for each in (platform.home, *platform.home.rglob("*")):
        if not each.is_symlink():
            wanted = 0o700 if each.is_dir() else 0o600
            assert stat.S_IMODE(each.stat().st_mode) == wanted, each


@pytest.mark.parametrize("what", ["pki", "pki/offline"])
def test_a_folder_open_to_others_is_not_used(platform: Platform, what: str) -> None:
    (platform.home / what).chmod(0o750)
    with pytest.raises(CertsError, match="chmod 700"), platform.at():
        pass
    assert any("chmod 700" in each for each in advised(platform))


@pytest.mark.parametrize("mark", ["folder", "file"])
def test_a_place_in_a_git_work_tree_is_refused_before_anything_is_written(
    tmp_path: Path, mark: str
) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "deep").mkdir(parents=True)
    if mark == "folder":
        (tree / ".git").mkdir()
    else:  # of a linked work tree
        (tree / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "link").symlink_to(tree / "deep")
    for inside in (tree, tree / "deep" / "not-yet", tmp_path / "link" / "home"):
        with pytest.raises(CertsError, match="git work tree"), opened(inside, now_ms=NOW_MS):
            pass
        with (
            pytest.raises(CertsError, match="git work tree"),
            opened(outside, now_ms=NOW_MS, root_keys=inside),
        ):
            pass
        with pytest.raises(CertsError, match="git work tree"):
            make_request(inside, "hub-7", RealDisk())
    assert sorted(each.name for each in tree.rglob("*")) == [".git", "deep"]
    assert not outside.exists()


def test_another_command_is_waited_for_and_then_said_to_be_in_the_way(platform: Platform) -> None:
    with (
        platform.at(),
        pytest.raises(CertsError, match="another command"),
        opened(platform.home, now_ms=NOW_MS, locked_within_s=0.05),
    ):
        pass
    with platform.at():
        pass


def test_the_certificate_says_what_its_role_may(platform: Platform) -> None:
    told = {
        role: openssl("x509", "-noout", "-text", "-in", platform.issue(role, "it") / "cert.pem")
        for role in (Role.SERVER, Role.HUB)
    }
    for text in told.values():
        assert "CA:FALSE" in text
        assert "prime256v1" in text
        assert "ecdsa-with-SHA256" in text
        assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    assert "TLS Web Server Authentication\n" in told[Role.SERVER]
    assert "DNS:localhost" in told[Role.SERVER]
    assert "TLS Web Client Authentication\n" in told[Role.HUB]
    assert "URI:urn:headgate:hub:it" in told[Role.HUB]
    assert "Subject: CN = it\n" in told[Role.HUB]


def test_openssl_agrees_with_chain_and_list(platform: Platform) -> None:
    good, bad = platform.issue(Role.HUB, "hub-7"), platform.issue(Role.HUB, "hub-8")
    with platform.at() as pki:
        holders.revoke(pki, Role.HUB, "hub-8", Reason.KEY_COMPROMISE)
    judge = ["verify", "-x509_strict", "-crl_check_all", "-purpose", "sslclient"]
    judge += ["-CAfile", str(platform.trust), "-CRLfile", str(platform.revoked)]
    assert "OK" in openssl(*judge, "-untrusted", good / "cert.pem", good / "cert.pem")
    with pytest.raises(AssertionError, match="certificate revoked"):
        openssl(*judge, "-untrusted", bad / "cert.pem", bad / "cert.pem")


def test_the_index_knows_every_certificate_and_no_serial_twice(platform: Platform) -> None:
    for role in HOLDERS:
        platform.issue(role, NAMES[role])
    with platform.at() as pki:
        rotate.rotate(pki, new_root=True)
        holders.renew(pki)
    ledger = looked_at(platform.home, now_ms=NOW_MS).store.ledger
    found = [int(each.name, 16) for each in holder_folders(platform.pki)]
    assert sorted(found) == sorted(ledger.entries)
    lines = (platform.pki / "index.jsonl").read_bytes().splitlines()
    assert len(lines) == len(found) == 2 * len(HOLDERS) + 5


def test_lists_are_numbered_upwards_even_when_the_clock_goes_back(platform: Platform) -> None:
    numbers = []
    for days in (0, 25, 24, 0, 50):
        platform.refresh(days)
        with platform.at(days) as pki:
            (authority,) = in_force(pki.store.ledger, pki.now_ms, Role.ISSUING)
            told = x509.read_list(pki.store.list_of(authority).read_bytes())
        assert told.begins_ms <= NOW_MS + days * DAY_MS < told.ends_ms
        numbers.append(told.number)
    assert numbers == sorted(numbers)
    assert len(set(numbers)) >= 4


def test_a_service_and_a_hub_never_share_a_name(platform: Platform) -> None:
    platform.issue(Role.HUB, "hub-7")
    with pytest.raises(CertsError, match="is a hub already"):
        platform.issue(Role.SERVICE, "hub-7")
    platform.issue(Role.SERVER, "hub-7")  # no client: cannot be taken for one
    with platform.at() as pki:
        holders.revoke(pki, Role.HUB, "hub-7", Reason.CESSATION)
    platform.issue(Role.SERVICE, "hub-7")


def test_revoking_takes_back_every_certificate_of_the_holder_once(platform: Platform) -> None:
    platform.issue(Role.HUB, "hub-7")
    platform.issue(Role.HUB, "hub-7", days=61)
    with platform.at(61) as pki:
        assert len(holders.revoke(pki, Role.HUB, "hub-7", Reason.UNSPECIFIED)) == 2
        assert holders.revoke(pki, Role.HUB, "hub-7", Reason.UNSPECIFIED) == []
        assert holders.renew(pki) == []
        with pytest.raises(CertsError, match="never was"):
            holders.revoke(pki, Role.HUB, "hub-8", Reason.UNSPECIFIED)
    again = platform.issue(Role.HUB, "hub-7", days=61)
    assert platform.folder(Role.HUB, "hub-7").resolve() == again


def test_a_holder_is_renewed_with_a_third_left_and_not_before(platform: Platform) -> None:
    first = platform.issue(Role.HUB, "hub-7")
    with platform.at(59) as pki:
        assert holders.renew(pki) == []
    with platform.at(60.1) as pki:
        (done,) = holders.renew(pki)
    assert done.folder.resolve() != first
    assert done.entry.not_after_ms > NOW_MS + 150 * DAY_MS
    assert (first / "key.pem").exists()


def test_a_certificate_never_outlives_its_authority(platform: Platform) -> None:
    platform.issue(Role.HUB, "hub-7", days=700)
    pki = looked_at(platform.home, now_ms=NOW_MS + 700 * DAY_MS)
    authority = issuer(pki.store.ledger, pki.now_ms)
    (entry,) = in_force(pki.store.ledger, pki.now_ms, Role.HUB)
    assert authority is not None
    assert entry.not_after_ms == authority.not_after_ms
    with pytest.raises(CertsError, match="no longer in force"):
        platform.issue(Role.HUB, "hub-7", days=731)
    with platform.at(731) as pki:
        rotate.rotate(pki, new_root=False)
    platform.issue(Role.HUB, "hub-7", days=731)


def test_without_the_roots_key_everything_but_a_new_authority_goes_on(
    platform: Platform, tmp_path: Path
) -> None:
    shutil.move(platform.pki / "offline", tmp_path / "stick")
    platform.issue(Role.HUB, "hub-7")
    with platform.at(25) as pki:
        assert settle(pki)
        with pytest.raises(CertsError, match="--root-dir"):
            rotate.rotate(pki, new_root=False)
    with opened(platform.home, now_ms=NOW_MS, root_keys=tmp_path / "stick") as pki:
        assert rotate.rotate(pki, new_root=False).name == "issuing-2"


def test_an_authority_is_not_retired_while_somebody_would_be_left_outside(
    platform: Platform,
) -> None:
    platform.issue(Role.HUB, "hub-7")
    with platform.at() as pki:
        rotate.rotate(pki, new_root=False)
        assert rotate.rotate(pki, new_root=False).name == "issuing-2"  # under way: the same
        with pytest.raises(CertsError, match="hub hub-7"):
            rotate.finish(pki, force=False)
        assert len(in_force(pki.store.ledger, NOW_MS, Role.ISSUING)) == 2
        assert [each.name for each in rotate.finish(pki, force=True)] == ["issuing-1"]
        assert in_force(pki.store.ledger, NOW_MS, *HOLDERS) == []


def test_an_authority_cannot_be_retired_without_its_roots_word(
    platform: Platform, tmp_path: Path
) -> None:
    with platform.at() as pki:
        rotate.rotate(pki, new_root=False)
    shutil.move(platform.pki / "offline", tmp_path / "stick")
    with platform.at() as pki:
        with pytest.raises(CertsError, match="--root-dir"):
            rotate.finish(pki, force=False)
        assert len(in_force(pki.store.ledger, NOW_MS, Role.ISSUING)) == 2


def test_no_key_changes_whatever_is_done(platform: Platform) -> None:
    seen: dict[Path, bytes] = {}
    for days in (0, 61, 500, 501):
        for role in HOLDERS:
            platform.issue(role, NAMES[role], days)
        with platform.at(days) as pki:
            rotate.rotate(pki, new_root=days == 500)
            holders.renew(pki)
            rotate.finish(pki, force=True)
        now = keys(platform.home)
        assert {place: now.get(place) for place in seen} == seen
        seen = now
    assert len(set(seen.values())) == len(seen) > 15


def test_a_request_is_believed_its_key_and_nothing_else(platform: Platform, tmp_path: Path) -> None:
    mine = make_request(tmp_path / "mine", "hub-7", RealDisk()).read_bytes()
    broken = mine[:-60] + b"AAAA" + mine[-56:]
    p384 = x509.request("hub-7", ec.generate_private_key(ec.SECP384R1()))
    stranger = trustme.CA().cert_pem.bytes()
    for wrong in (b"", broken, p384, stranger, mine * 100):
        with platform.at() as pki, pytest.raises(CertsError, match="headgate certs request"):
            holders.issue(pki, Role.HUB, "hub-7", request=wrong)
    with platform.at() as pki, pytest.raises(CertsError, match="not for hub-8"):
        holders.issue(pki, Role.HUB, "hub-8", request=mine)
    with platform.at() as pki:
        first = holders.issue(pki, Role.HUB, "hub-7", request=mine)
        again = holders.issue(pki, Role.HUB, "hub-7", request=mine)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.entry == first.entry


def test_two_hubs_never_have_one_key(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    with platform.at() as pki:
        request = make_request(folder, "hub-7", RealDisk()).read_bytes()
        holders.issue(pki, Role.HUB, "hub-7", request=request)
        clone = make_request(folder, "hub-8", RealDisk()).read_bytes()
        with pytest.raises(CertsError, match="cloned disk"):
            holders.issue(pki, Role.HUB, "hub-8", request=clone)


def test_a_request_made_twice_keeps_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    make_request(folder, "hub-7", RealDisk())
    key = (folder / "key.pem").read_bytes()
    make_request(folder, "hub-7", RealDisk())
    assert (folder / "key.pem").read_bytes() == key
    (folder / "key.pem").write_bytes(b"nonsense")
    with pytest.raises(CertsError, match="no P-256 key"):
        make_request(folder, "hub-7", RealDisk())
    assert (folder / "key.pem").read_bytes() == b"nonsense"


def test_check_says_what_to_type_at_every_age(platform: Platform) -> None:
    assert advised(Platform(platform.home.parent / "nothing")) == ["headgate certs init"]
    platform.issue(Role.HUB, "hub-7")
    assert advised(platform) == []
    assert advised(platform, 21) == ["headgate certs crl"]
    assert "headgate certs renew" in advised(platform, 61)
    assert any("issue hub hub-7" in each for each in advised(platform, 91))
    assert "headgate certs rotate" in advised(platform, 500)
    assert advised(platform, 731) == ["headgate certs rotate"]
    life_days = PROFILES[Role.ROOT].lifetime_ms / DAY_MS
    with platform.at(life_days * 0.7) as pki:
        rotate.rotate(pki, new_root=False)
    assert "headgate certs rotate --new-root" in advised(platform, life_days * 0.7)


def test_what_check_says_helps(platform: Platform) -> None:
    platform.issue(Role.HUB, "hub-7")
    with platform.at(500) as pki:
        rotate.rotate(pki, new_root=False)
    platform.issue(Role.HUB, "hub-7", 500)
    with platform.at(500) as pki:
        holders.renew(pki)
        rotate.finish(pki, force=False)
    assert advised(platform, 500) == []
