"""Settings: one file in, plain values out, or a message that names file, key and fault."""

from pathlib import Path

import pytest

from certs.core.profile import Role
from edge_agent.settings import (
    Address,
    Brokers,
    SettingsError,
    check_certificate,
    load,
    read_token,
)
from tests.support.builders import HUB
from tests.support.certs import Platform

GOOD = """
hub_id = "hub-1"
region = "north"
store_id = "3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11"
data_dir = "/var/lib/headgate"
backfill_floor = "2016-01-01T00:00:00Z"
[uplink]
url = "mqtt://127.0.0.1:1883"
token_file = "/etc/headgate/hub-1.token"
[sensors]
listen = "127.0.0.1:1884"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(text)
    return path


def test_a_good_file_becomes_plain_values(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD))
    assert settings.uplink.url == Brokers((Address("127.0.0.1", 1883),), is_tls=False)
    assert settings.sensors.listen == Address("127.0.0.1", 1884)
    assert settings.window_s == 10
    assert settings.floor_ms == 1_451_606_400_000


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('hub_id = "hub-1"', 'hub_id = "Hub 1"', "hub_id: must be 1 to 64 of"),
        ('region = "north"', "", "region: is missing"),
        ("[sensors]", "[sensors]\nspeed = 3", "sensors.speed: is no setting"),
        ('listen = "127.0.0.1:1884"', "", "sensors: needs exactly one of listen and url"),
        (
            'listen = "127.0.0.1:1884"',
            'listen = "127.0.0.1:1884"\nurl = "mqtt://h:1"',
            "sensors: needs exactly one of listen and url",
        ),
        ("127.0.0.1:1884", "127.0.0.1", 'sensors.listen: must be "host:port"'),
        ("mqtt://127.0.0.1:1883", "http://127.0.0.1", "uplink.url: must be"),
        ("mqtt://127.0.0.1:1883", "mqtt://me:secret@127.0.0.1", "uplink.url: must not carry"),
        ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:x", "uplink.url: must be"),
        ("mqtt://127.0.0.1:1883", "mqtts://h:1,", "uplink.url: must be"),
        ("mqtt://", "mqtts://", "uplink: mqtts:// needs certificate_dir"),
        ("token_file", "certificate_dir", "uplink: mqtt:// needs token_file"),
        ('listen = "127.0.0.1:1884"', 'url = "mqtts://h"', "sensors.url: must be"),
        ("00:00:00Z", "00:00:00", "backfill_floor needs an offset"),
        ('"north"', '"north', "is no TOML"),
    ],
)
def test_a_bad_file_is_refused_by_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SettingsError) as refused:
        load(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.spec("U8")
def test_a_hub_at_a_cluster_is_told_its_nodes_and_where_its_certificate_is(tmp_path: Path) -> None:
    text = GOOD.replace("mqtt://127.0.0.1:1883", "mqtts://b1.example.org,b2.example.org:8884,[::1]")
    uplink = load(written(tmp_path, text.replace("token_file", "certificate_dir"))).uplink
    assert uplink.url.is_tls
    assert uplink.url.nodes == (("b1.example.org", 8883), ("b2.example.org", 8884), ("::1", 8883))
    assert uplink.certificate_dir == Path("/etc/headgate/hub-1.token")


@pytest.mark.spec("U8")
def test_a_certificate_that_cannot_be_shown_is_refused_with_the_command_that_helps(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="type: headgate certs request hub-1 --out"):
        check_certificate(tmp_path, HUB)
    folder = Platform(tmp_path / "home").found().issue(Role.HUB, HUB)
    check_certificate(folder, HUB)
    (folder / "key.pem").chmod(0o640)
    with pytest.raises(SettingsError, match=r"type: chmod 600 .*key\.pem"):
        check_certificate(folder, HUB)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hub\.toml: cannot be read"):
        load(tmp_path / "hub.toml")


@pytest.mark.spec("S2")
def test_a_token_others_may_read_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    path = tmp_path / "hub-1.token"
    path.write_text("secret\n")
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600") as refused:
        read_token(path)
    assert "secret" not in str(refused.value)
    path.chmod(0o600)
    assert read_token(path) == "secret"


@pytest.mark.parametrize("text", ["", "\n", "x" * 1_025])
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hub-1.token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SettingsError, match="no token"):
        read_token(path)
