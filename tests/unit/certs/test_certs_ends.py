"""What the standard library alone can tell of a certificate, and names a hub may not have."""

from pathlib import Path

import pytest

from certs.authority import holders
from certs.core.errors import CertsError
from certs.core.profile import Role
from certs.tls import ends_ms
from tests.support.certs import Platform
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


def test_no_hub_is_called_as_a_stage_is(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found()
    for name in sorted(SERVICES):
        with pytest.raises(CertsError, match="a stage's name"):
            platform.issue(Role.HUB, name)
        assert platform.issue(Role.SERVICE, name).is_dir()
