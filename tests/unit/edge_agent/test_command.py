"""``headgate-edge``: what it answers, and with which status."""

import json
import socket
from pathlib import Path

import pytest

from edge_agent.__main__ import main
from tests.support.hub import START_MS, collector_on, feed, spool_at

SETTINGS = """
hub_id = "hub-1"
region = "north"
store_id = "3f1c9a5e-5d0c-4b0e-9a53-2f4d8f3f9c11"
data_dir = "{folder}/data"
spool_bytes_max = 8388608
[uplink]
url = "mqtt://127.0.0.1:{port}"
token_file = "{folder}/hub-1.token"
[sensors]
listen = "127.0.0.1:{listen}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a hub without a token, whose cloud does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as b:
        port, listen = one.getsockname()[1], b.getsockname()[1]
    path = tmp_path / "hub.toml"
    path.write_text(SETTINGS.format(folder=tmp_path, port=port, listen=listen))
    return path


def test_check_names_every_fault_with_the_next_command(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--config", str(config)]) == 1
    said = capsys.readouterr().out
    assert "token cannot be read" in said
    assert "nobody answers" in said
    assert said.count("type: ") == 2


def test_check_finds_nothing_wrong_with_a_hub_that_can_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "hub-1.token"
    token.touch(0o600)
    token.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as broker:
        text = config.read_text().splitlines()
        url = f'url = "mqtt://127.0.0.1:{broker.getsockname()[1]}"'
        config.write_text("\n".join(url if line.startswith("url") else line for line in text))
        assert main(["check", "--config", str(config)]) == 0
    assert "headgate-edge run" in capsys.readouterr().out


def test_status_reads_the_spool_of_a_running_hub(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = spool_at(tmp_path / "data")
    collector = collector_on(spool, window_ms=0)
    feed(collector, [(1, 0, 7.0), (2, 0, 7.0)], 1_000)
    feed(collector, [], 5_000)
    assert main(["status", "--json", "--config", str(config)]) == 0
    spool.close()
    state = json.loads(capsys.readouterr().out)
    assert (state["batches"], state["rows"], state["oldest_ms"]) == (1, 2, START_MS)


def test_what_cannot_be_done_ends_with_one_line_that_says_why(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--config", str(config)]) == 1
    assert "has the hub run yet?" in capsys.readouterr().err
    assert main(["run", "--config", str(config.with_name("none.toml"))]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_help_tells_the_first_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "the first minutes of a hub" in capsys.readouterr().out
