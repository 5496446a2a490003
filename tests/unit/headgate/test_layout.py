"""headgate.stack.layout: one stack a data directory, secrets for us alone."""

import os
from pathlib import Path

import pytest

from headgate.stack.errors import StackError
from headgate.stack.layout import Facts, Home, default_home, read_facts

FACTS = Facts("3f1c", 5432, 1883, 8080, {"gateway": 7})


def test_one_stack_a_data_directory(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    assert not home.is_up()
    with home.locked():
        assert home.is_up()
        with pytest.raises(StackError, match=str(os.getpid())), home.locked():
            pass
    assert not home.is_up()


def test_secrets_are_for_us_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    for folder in (home.secrets, home.identities, home.logs, home.hubs):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_told_is_read_back_and_nonsense_is_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert read_facts(home) is None
    FACTS.write(home)
    assert read_facts(home) == FACTS
    (tmp_path / "stack.json").write_text('{"store_id": 1}')
    assert read_facts(home) is None


def test_the_data_directory_can_be_chosen() -> None:
    assert default_home({"HEADGATE_HOME": "/x"}) == Path("/x")
    if os.geteuid() == 0:
        assert default_home({}) == Path("/var/lib/headgate")
    else:
        assert default_home({"XDG_DATA_HOME": "/y"}) == Path("/y/headgate")
