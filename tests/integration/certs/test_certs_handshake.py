"""Who gets in, and who does not: real handshakes over loopback."""

import ssl
from pathlib import Path

import pytest
import trustme

from certs.authority import holders, rotate
from certs.authority.disk import RealDisk
from certs.authority.request import make_request
from certs.core.ledger import Reason
from certs.core.profile import Role
from certs.tls import Client, client_context, server_context
from tests.support.certs import Platform, old_fashioned, shake

pytestmark = pytest.mark.spec("U8", "U2")
TLS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(tmp_path / "home").found()


def lax_server(platform: Platform) -> ssl.SSLContext:
    """Return a server that takes whatever comes: what is refused elsewhere was a real try."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with old_fashioned():
        lax.minimum_version = ssl.TLSVersion.TLSv1_1
    lax.set_ciphers("ALL:@SECLEVEL=0")
    folder = platform.folder(Role.SERVER, "door")
    lax.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return lax


@TLS
def test_a_hub_gets_in_and_its_name_is_seen(platform: Platform, version: ssl.TLSVersion) -> None:
    dial = platform.dial(platform.issue(Role.HUB, "hub-7"))
    dial.maximum_version = dial.minimum_version = version
    done = shake(platform.door(), dial)
    assert done.server_saw == Client(Role.HUB, "hub-7")
    assert done.cipher is not None
    assert "GCM" in done.cipher or "CHACHA20" in done.cipher


def test_a_service_is_not_taken_for_a_hub(platform: Platform) -> None:
    done = shake(platform.door(), platform.dial(platform.issue(Role.SERVICE, "ingest-1")))
    assert done.server_saw == Client(Role.SERVICE, "ingest-1")


def test_nobody_gets_in_without_a_certificate(platform: Platform) -> None:
    done = shake(platform.door(), platform.dial(None))
    assert done.server_refused == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


def test_a_door_for_people_asks_for_no_certificate(platform: Platform) -> None:
    server = server_context(platform.issue(Role.SERVER, "web"))
    done = shake(server, platform.dial(None))
    assert done.is_open
    assert done.server_saw is None


def test_a_hub_of_another_platform_is_foreign(platform: Platform, tmp_path: Path) -> None:
    other = Platform(tmp_path / "other").found()
    foreign = other.issue(Role.HUB, "hub-7")
    done = shake(platform.door(), client_context(platform.trust, identity=foreign))
    assert done.server_refused is not None
    assert "unable to get local issuer" in done.server_refused
    assert shake(other.door(), other.dial(foreign)).is_open


def test_somebody_elses_authority_may_say_what_it_likes(platform: Platform, tmp_path: Path) -> None:
    forged = trustme.CA().issue_cert(common_name="hub-7")
    dial = platform.dial(None)
    forged.configure_cert(dial)
    assert not shake(platform.door(), dial).is_open


def test_a_hub_does_not_speak_to_a_foreign_server(platform: Platform, tmp_path: Path) -> None:
    other = Platform(tmp_path / "other").found()
    hub = platform.issue(Role.HUB, "hub-7")
    done = shake(other.door(), platform.dial(hub))
    assert done.client_refused is not None
    assert "unable to get local issuer" in done.client_refused


def test_a_hub_does_not_speak_to_a_server_of_another_name(platform: Platform) -> None:
    done = shake(platform.door(), platform.dial(None), host="elsewhere.example.org")
    assert done.client_refused is not None
    assert "Hostname mismatch" in done.client_refused


def test_an_expired_hub_stays_outside(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found(days=-200)
    hub = platform.issue(Role.HUB, "hub-7", days=-90.1)
    young = platform.issue(Role.HUB, "hub-8", days=-89.9)
    platform.refresh()
    assert shake(platform.door(), platform.dial(hub)).server_refused == "certificate has expired"
    assert shake(platform.door(), platform.dial(young)).is_open


def test_a_hub_before_its_time_stays_outside(platform: Platform) -> None:
    hub = platform.issue(Role.HUB, "hub-7", days=1)
    platform.refresh()
    refused = shake(platform.door(), platform.dial(hub)).server_refused
    assert refused == "certificate is not yet valid"


def test_a_revoked_hub_stays_outside_from_the_next_handshake_on(platform: Platform) -> None:
    hub, neighbour = platform.issue(Role.HUB, "hub-7"), platform.issue(Role.HUB, "hub-8")
    door = platform.door()
    assert shake(door, platform.dial(hub)).is_open
    with platform.at() as pki:
        holders.revoke(pki, Role.HUB, "hub-7", Reason.KEY_COMPROMISE)
    assert shake(door, platform.dial(hub)).server_refused == "certificate revoked"
    assert shake(door, platform.dial(neighbour)).is_open


@TLS
def test_a_revoked_hub_does_not_come_back_by_resuming(
    platform: Platform, version: ssl.TLSVersion
) -> None:
    door, dial = platform.door(), platform.dial(platform.issue(Role.HUB, "hub-7"))
    dial.options &= ~ssl.OP_NO_TICKET  # the client would; the server must not
    dial.maximum_version = dial.minimum_version = version
    session = shake(door, dial).session
    again = shake(door, dial, session=session)
    assert again.is_open
    assert not again.is_resumed
    with platform.at() as pki:
        holders.revoke(pki, Role.HUB, "hub-7", Reason.UNSPECIFIED)
    assert not shake(door, dial, session=session).is_open


def test_a_server_is_no_client_and_a_hub_is_no_server(platform: Platform) -> None:
    hub, server = platform.issue(Role.HUB, "hub-7"), platform.issue(Role.SERVER, "door")
    refused = shake(platform.door(), platform.dial(server)).server_refused
    assert refused is not None
    assert "purpose" in refused
    refused = shake(server_context(hub), platform.dial(None)).client_refused
    assert refused is not None
    assert "purpose" in refused


def test_a_client_that_speaks_cbc_only_stays_outside(platform: Platform) -> None:
    dial = platform.dial(platform.issue(Role.HUB, "hub-7"))
    dial.maximum_version = ssl.TLSVersion.TLSv1_2
    dial.set_ciphers("ECDHE+AES:!AESGCM:!AESCCM")
    assert shake(platform.door(), dial).server_refused == "NO_SHARED_CIPHER"
    done = shake(lax_server(platform), dial)
    assert done.cipher is not None
    assert "GCM" not in done.cipher


def test_every_suite_offered_is_aead(platform: Platform) -> None:
    for context in (platform.door(), platform.dial(None)):
        offered = context.get_ciphers()
        assert offered
        assert all(each["aead"] for each in offered)


def test_tls_1_1_is_not_spoken(platform: Platform) -> None:
    dial = platform.dial(platform.issue(Role.HUB, "hub-7"))
    with old_fashioned():
        dial.minimum_version = dial.maximum_version = ssl.TLSVersion.TLSv1_1
    dial.set_ciphers("ALL:@SECLEVEL=0")
    assert shake(platform.door(), dial).server_refused == "UNSUPPORTED_PROTOCOL"
    assert shake(lax_server(platform), dial).version == "TLSv1.1"


@pytest.mark.parametrize("new_root", [False, True])
def test_while_authorities_change_both_are_trusted_and_afterwards_only_the_new(
    platform: Platform, new_root: bool
) -> None:
    door, old = platform.door(), platform.issue(Role.HUB, "hub-7")
    with platform.at() as pki:
        rotate.rotate(pki, new_root=new_root)
    new = platform.issue(Role.HUB, "hub-8")
    assert shake(door, client_context(old / "trust.pem", identity=old)).is_open
    assert shake(door, client_context(new / "trust.pem", identity=new)).is_open
    with platform.at() as pki:
        holders.renew(pki)  # the door has moved; the old hub knows it all the same
    assert shake(door, client_context(old / "trust.pem", identity=old)).is_open
    with platform.at() as pki:
        rotate.finish(pki, force=False)
    refused = shake(door, client_context(old / "trust.pem", identity=old))
    assert refused.server_refused is not None
    assert refused.client_refused is not None
    assert shake(door, client_context(new / "trust.pem", identity=new)).is_open


def test_a_retired_authority_is_refused_by_its_roots_word_though_its_own_list_lies_about(
    platform: Platform, tmp_path: Path
) -> None:
    old = platform.issue(Role.HUB, "hub-7")
    with platform.at() as pki:
        former = pki.store.list_of(pki.issuer()).read_bytes()
        rotate.rotate(pki, new_root=False)
        holders.renew(pki)
        rotate.finish(pki, force=False)
    copy = tmp_path / "copied-by-hand.pem"
    copy.write_bytes(platform.revoked.read_bytes() + former)
    door = server_context(platform.issue(Role.SERVER, "door"), trust=platform.trust, revoked=copy)
    assert shake(door, platform.dial(old)).server_refused == "certificate revoked"
    new = platform.folder(Role.HUB, "hub-7").resolve()
    assert shake(door, platform.dial(new)).is_open


def test_a_lost_root_can_be_replaced_and_hubs_need_the_new_roots_then(
    platform: Platform, tmp_path: Path
) -> None:
    old = platform.issue(Role.HUB, "hub-7")
    for key in (platform.pki / "offline").glob("*.key"):
        key.unlink()
    with platform.at() as pki:
        rotate.rotate(pki, new_root=True, root_lost=True)
        holders.renew(pki)
    door, new = platform.door(), platform.folder(Role.HUB, "hub-7").resolve()
    assert shake(door, client_context(new / "trust.pem", identity=old)).is_open
    assert not shake(door, client_context(old / "trust.pem", identity=old)).is_open


def test_a_renewed_server_is_served_without_a_restart_and_keeps_its_names(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found(days=-70)
    platform.issue(Role.SERVER, "door", days=-70)
    hub = platform.issue(Role.HUB, "hub-7", days=-10)
    platform.refresh()
    folder = platform.folder(Role.SERVER, "door")
    door = server_context(folder, trust=platform.trust, revoked=platform.revoked)
    before = shake(door, platform.dial(hub))
    with platform.at() as pki:
        done = holders.renew(pki)
    assert [(each.entry.role, each.entry.name) for each in done] == [(Role.SERVER, "door")]
    after = shake(door, platform.dial(hub))
    assert after.is_open
    assert after.server_serial == done[0].entry.serial != before.server_serial


def test_a_hub_that_keeps_its_key_is_the_same_hub_after_renewal(tmp_path: Path) -> None:
    platform, own = Platform(tmp_path / "home").found(days=-61), tmp_path / "hub"
    asked = make_request(own, "hub-7", RealDisk())
    with platform.at(days=-61) as pki:
        first = holders.issue(pki, Role.HUB, "hub-7", request=asked.read_bytes())
    assert not (first.folder / "key.pem").exists()
    with platform.at() as pki:
        (second,) = holders.renew(pki)
    assert second.entry.key_sha256 == first.entry.key_sha256
    assert second.entry.alt_names == first.entry.alt_names
    (own / "cert.pem").write_bytes((second.folder / "cert.pem").read_bytes())
    done = shake(platform.door(), client_context(second.folder / "trust.pem", identity=own))
    assert done.server_saw == Client(Role.HUB, "hub-7")


@pytest.mark.parametrize("how", ["gone", "empty", "old"])
def test_without_a_fresh_list_nobody_gets_in(tmp_path: Path, how: str) -> None:
    platform = Platform(tmp_path / "home").found(days=-31)
    hub = platform.issue(Role.HUB, "hub-7", days=-31)
    door_folder = platform.issue(Role.SERVER, "door", days=-31)
    if how != "old":
        platform.refresh()
    door = server_context(door_folder, trust=platform.trust, revoked=platform.revoked)
    assert shake(door, platform.dial(hub)).is_open is (how != "old")
    if how == "gone":
        platform.revoked.unlink()
    if how == "empty":
        platform.revoked.write_bytes(b"")
    assert not shake(door, platform.dial(hub)).is_open
    platform.refresh()
    assert shake(door, platform.dial(hub)).is_open
