"""gateway.core.identity: names that cannot be mistaken, tokens that are never kept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.identities import IdentityFiles, enrol
from gateway.core.identity import (
    Identity,
    MalformedIdentityError,
    Role,
    digest,
    format_identity,
    owns_client_id,
    parse_identity,
    proves,
)
from wire.ids import Region

HUB = Identity("hub-1", Role.HUB, Region("north"), digest("secret"))
INGEST = Identity("ingest", Role.INGEST, Region("north"), digest("secret"))


def test_what_is_written_is_read_back() -> None:
    assert parse_identity(format_identity(HUB), name="hub-1") == HUB
    assert "secret" not in format_identity(HUB)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"name":1}', "[" * 3000, "\x00"])
def test_a_spoilt_file_is_nobodys(text: str) -> None:
    with pytest.raises(MalformedIdentityError):
        parse_identity(text, name="hub-1")


def test_a_file_cannot_speak_for_another_name() -> None:
    with pytest.raises(MalformedIdentityError, match="names another"):
        parse_identity(format_identity(HUB), name="hub-2")


@given(st.text())
def test_only_the_token_proves(token: str) -> None:
    assert proves(HUB, token) == (token == "secret")


@pytest.mark.parametrize("name", ["ingest", "detect-12", "http-0", "sensors-1", "sensor-1"])
def test_no_hub_is_called_like_a_stage_a_door_or_a_sensor(name: str) -> None:
    with pytest.raises(MalformedIdentityError):
        Identity(name, Role.HUB, Region("north"), digest("x"))


def test_sessions_belong_to_their_identity() -> None:
    assert all(owns_client_id(INGEST, each) for each in ("", "ingest", "ingest-0", "ingest-12"))
    assert not any(
        owns_client_id(INGEST, each) for each in ("detect-0", "ingest-x", "ingest-123", "ingest-²")
    )
    assert all(owns_client_id(HUB, each) for each in ("", "hub-1"))
    assert not any(owns_client_id(HUB, each) for each in ("hub-1-0", "hub-2", "ingest-0"))


def test_enrolling_twice_changes_nothing(tmp_path: Path) -> None:
    folder, token_file = tmp_path / "identities", tmp_path / "hub-1.token"
    assert enrol("hub-1", Role.HUB, "north", folder=folder, token_file=token_file)
    token = token_file.read_text()
    assert not enrol("hub-1", Role.HUB, "north", folder=folder, token_file=token_file)
    assert token_file.read_text() == token
    for path in (token_file, folder / "hub-1.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(MalformedIdentityError):
        enrol("hub-1", Role.HUB, "south", folder=folder, token_file=token_file)
    assert enrol("hub-1", Role.HUB, "south", folder=folder, token_file=token_file, force=True)
    assert token_file.read_text() != token


def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    files, token_file = IdentityFiles(tmp_path), tmp_path / "hub-1.token"
    assert files.find("hub-1") is None
    enrol("hub-1", Role.HUB, "north", folder=tmp_path, token_file=token_file)
    first = files.find("hub-1")
    assert first is not None
    assert proves(first, token_file.read_text().strip())
    enrol("hub-1", Role.HUB, "north", folder=tmp_path, token_file=token_file, force=True)
    assert files.find("hub-1") != first
    (tmp_path / "hub-1.json").unlink()
    assert files.find("hub-1") is None
    assert files.find("../hub-1") is None
