"""The command as people and scripts meet it: real processes, killed and at once."""

import base64
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from certs.authority import x509
from certs.authority.pki import looked_at
from certs.cli import main
from certs.core.plan import in_force
from certs.core.profile import Role
from tests.support.certs import NOW_MS, Platform, holder_folders, keys

pytestmark = pytest.mark.spec("U8")
ROOT = Path(__file__).parents[3]
CERTS = [sys.executable, "-P", "-m", "certs"]
LOOP = """
import sys
from certs.cli import main
for number in range(60):
    for role, name in (("hub", f"hub-{number}"), ("server", f"server-{number}")):
        main(["issue", role, name, "--home", sys.argv[1]], {})
        main(["revoke", role, name, "--home", sys.argv[1]], {}) if number % 3 == 0 else None
        sys.stdout.flush()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def certs(home: Path, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*CERTS, *map(str, arguments)],
        env=environment() | {"HEADGATE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, f"{arguments}: {done.stdout}{done.stderr}"
    return done


def test_the_whole_life_of_a_hub_by_commands_and_no_secret_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, said = tmp_path / "home", []

    def ask(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
        for form in ((), ("--json",)):
            assert main([*map(str, arguments), *form], {"HEADGATE_HOME": str(home)}) == status
            out, err = capsys.readouterr()
            said.append(out + err)
        answer: dict[str, Any] = json.loads(said[-1].splitlines()[0])
        return answer

    assert ask("check", status=1)["faults"][0]["type"] == "headgate certs init"
    ask("init")
    asked = ask("request", "hub-8", "--out", tmp_path / "hub-8")["request"]
    hub = ask("issue", "hub", "hub-7")
    assert not hub["is_new"]  # the first of the two had made it
    assert ask("issue", "hub", "hub-8", "--csr", asked)["alt_names"] == [
        "uri:urn:headgate:hub:hub-8"
    ]
    assert ask("issue", "server", "door", "--dns", "localhost", "--ip", "::1")["alt_names"] == [
        "dns:localhost",
        "ip:::1",
    ]
    ask("issue", "service", "ingest-1")
    assert ask("check")["faults"] == []
    ask("rotate")
    ask("rotate", "--finish", status=1)
    ask("renew")
    ask("rotate", "--finish")
    ask("revoke", "hub", "hub-7", "--reason", "key-compromise")
    ask("crl")
    states = {row["name"]: row["state"] for row in ask("list")["certificates"]}
    assert states["hub-7"] == states["issuing-1"] == "revoked"
    assert states["hub-8"] == states["door"] == states["ingest-1"] == "in force"
    everything_said = "".join(said)
    assert "PRIVATE" not in everything_said
    for body in (*keys(home).values(), (tmp_path / "hub-8" / "key.pem").read_bytes()):
        key = x509.load_key(body)
        number = key.private_numbers().private_value.to_bytes(32)
        for spelling in (number.hex(), base64.b64encode(number).decode()):
            assert spelling not in everything_said
        assert not any(line in everything_said for line in body.decode().splitlines()[1:-1])


def test_a_refusal_says_what_to_type_and_scripts_can_read_it(tmp_path: Path) -> None:
    done = certs(tmp_path, "issue", "hub", "hub-7", status=1)
    assert done.stderr == "headgate certs: there is no PKI yet\n  -> headgate certs init\n"
    certs(tmp_path, "init")
    bad = certs(tmp_path, "issue", "hub", "Hub 7", "--json", status=1)
    assert set(json.loads(bad.stdout)) == {"error", "hint"}
    assert "Traceback" not in bad.stderr
    certs(tmp_path, "issue", "hub", "hub-8", "--csr", tmp_path / "nothing", status=1)


def test_a_git_work_tree_is_refused_by_the_command(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    done = certs(tmp_path / "data", "init", status=1)
    assert "is inside the git work tree" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_running_hub_gets_tls_without_the_library(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home").found()
    hub = platform.issue(Role.HUB, "hub-7")
    says = (
        "import sys; from pathlib import Path; from certs.tls import client_context; "
        "client_context(Path(sys.argv[1]) / 'trust.pem', identity=Path(sys.argv[1])); "
        "print([m for m in sys.modules if m.startswith(('cryptography', 'certs.authority'))])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", says, str(hub)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "[]\n"


def test_commands_at_once_take_turns(tmp_path: Path) -> None:
    commands = [["issue", "hub", f"hub-{n % 2}"] for n in range(4)] + [["init"], ["renew"]]
    Platform(tmp_path).found()
    running = [
        subprocess.Popen(
            [*CERTS, *command, "--home", str(tmp_path)],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        for command in commands
    ]
    assert [each.wait(timeout=60) for each in running] == [0] * len(commands)
    ledger = looked_at(tmp_path, now_ms=NOW_MS).store.ledger
    assert sorted(each.name for each in in_force(ledger, NOW_MS, Role.HUB)) == [
        f"hub-{n}" for n in range(2)
    ]


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_the_next_command_goes_on(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    platform = Platform(tmp_path / "home").found()
    kept: dict[Path, bytes] = {}
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-P", "-c", LOOP, str(platform.home)],
            env=environment(),
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(2, 24)):
                assert process.stdout.readline()
            spin = sum(range(rng.randrange(200_000)))  # a moment that is not the end of a line
            process.send_signal(signal.SIGKILL if spin >= 0 else 0)
        ledger = looked_at(platform.home, now_ms=NOW_MS).store.ledger
        for folder in holder_folders(platform.pki):
            assert int(folder.name, 16) in ledger.entries
        assert kept.items() <= keys(platform.home).items()
        kept = keys(platform.home)
        platform.issue(Role.SERVICE, "after-1")
        assert list((platform.pki / "drafts").iterdir()) == []
        listed = x509.read_list(
            platform.revoked.read_bytes().split(b"-----END X509 CRL-----")[0]
            + b"-----END X509 CRL-----\n"
        )
        assert listed.serials == set(looked_at(platform.home, now_ms=NOW_MS).store.ledger.revoked)
