"""The wheel: it installs into an empty place, imports, runs, and holds nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["headgate", "wire", "water", "certs", "gateway", "edge_agent", "cloud", "firmware_sim"]
SECRETS = (".pem", ".key", ".crt", ".token")


def run(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, argv)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def tracked() -> list[str]:
    """Return the files that belong to the project, and no others lying in the checkout."""
    return [name for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0") if name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a source tree in which somebody left a key lying about."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "certs" / "forgotten.key").write_text("secret")
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", out, cwd=source)
    return next(out.glob("*.whl"))


@pytest.mark.timeout(300)
@pytest.mark.spec("K2")
def test_an_empty_environment_can_import_every_package_and_run_both_commands(
    wheel: Path, tmp_path: Path
) -> None:
    place = tmp_path / "venv"
    run(
        sys.executable,
        "-m",
        "uv",
        "venv",
        "--quiet",
        "--python",
        sys.executable,
        place,
        cwd=tmp_path,
    )
    python, elsewhere = place / "bin" / "python", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        wheel,
        cwd=tmp_path,
    )
    run(python, "-P", "-c", f"import {', '.join(PACKAGES)}", cwd=elsewhere)
    assert "headgate demo" in run(place / "bin" / "headgate", "--help", cwd=elsewhere)
    assert "--config" in run(place / "bin" / "headgate-edge", "run", "--help", cwd=elsewhere)


def test_the_wheel_holds_the_packages_their_files_and_no_secret(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in names if name.endswith(SECRETS)]
    shipped = set(names)
    for name in tracked():
        if name.partition("/")[0] in PACKAGES and (ROOT / name).is_file():
            assert name in shipped
