"""What the standard library alone can tell of a certificate, and names a hub may not have."""

from pathlib import Path

import pytest

from certs.authority import holders
from certs.core.errors import CertsError
from certs.core.profile import CLIENTS, Role
from certs.tls import ends_ms
from tests.support.certs import Platform
from wire.limits import SENSOR_ID_MAX
from wire.queues import SERVICES

pytestmark = pytest.mark.spec("U8")


def test_when_a_certificate_ends_is_read_as_it_was_signed(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found()
    for role, days in ((Role.SERVER, 0), (Role.HUB, 0), (Role.HUB, 80), (Role.SERVICE, 1)):
        with platform.at(days) as pki:
            done = holders.issue(pki, role, f"{role}-1")
        assert ends_ms(done.folder) == done.entry.not_after_ms


def test_what_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    for text in ("", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        (tmp_path / "cert.pem").write_text(text)
        with pytest.raises(ValueError, match="is no certificate"):
            ends_ms(tmp_path)


def test_who_is_a_stage_a_door_or_a_sensor_is_certified_as_nothing_else(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found()
    doors = ("http", "http-0", "http-9999", "sensors", "sensors-12")
    owners = dict.fromkeys([*SERVICES, *doors], Role.SERVICE)
    owners |= dict.fromkeys(["sensor-0", f"sensor-{SENSOR_ID_MAX}"], Role.SENSOR)
    for name, owner in owners.items():
        for other in CLIENTS - {owner}:
            with pytest.raises(CertsError, match=f"is a {owner}'s name"):
                platform.issue(other, name)
        assert platform.issue(owner, name).is_dir()


@pytest.mark.parametrize("name", ["https", "http-12345", "sensors-x", "sensor-01", "sensor-"])
def test_a_name_that_is_almost_reserved_is_a_hubs_but_no_sensors(tmp_path: Path, name: str) -> None:
    platform = Platform(tmp_path / "home").found()
    assert platform.issue(Role.HUB, name).is_dir()
    with pytest.raises(CertsError, match="is no sensor's name"):
        platform.issue(Role.SENSOR, name)
