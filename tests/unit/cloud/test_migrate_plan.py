"""cloud.migrate: each numbered file once, in order, never altered afterwards."""

from pathlib import Path

import pytest

from cloud.core.errors import OperatorError
from cloud.migrate import pending, read


def folder_with(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).write_text(f"select '{name}'")
    return tmp_path


def test_shipped_migrations_are_numbered_without_a_gap() -> None:
    assert read()[0].name == "0001_river.sql"


def test_migrations_come_in_order(tmp_path: Path) -> None:
    found = read(folder_with(tmp_path, "0002_b.sql", "0001_a.sql"))
    assert [each.number for each in found] == [1, 2]


@pytest.mark.parametrize(
    "names", [("0002_b.sql",), ("0001_a.sql", "0001_b.sql"), ("1_a.sql",), ("0001-a.sql",)]
)
def test_gaps_doubles_and_other_names_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(OperatorError):
        read(folder_with(tmp_path, *names))


def test_only_what_was_not_applied_is_pending(tmp_path: Path) -> None:
    first, second = read(folder_with(tmp_path, "0001_a.sql", "0002_b.sql"))
    assert pending([first, second], {}) == [first, second]
    assert pending([first, second], {1: first.sha256}) == [second]
    assert pending([first, second], {1: first.sha256, 2: second.sha256}) == []


def test_an_applied_file_that_changed_is_refused(tmp_path: Path) -> None:
    known = read(folder_with(tmp_path, "0001_a.sql"))
    with pytest.raises(OperatorError, match="another form"):
        pending(known, {1: "0" * 64})


def test_an_old_program_runs_on_a_newer_schema(tmp_path: Path) -> None:
    known = read(folder_with(tmp_path, "0001_a.sql"))
    assert pending(known, {1: known[0].sha256, 2: "f" * 64}) == []
