"""A real NGINX for tests, with the configuration that ships and a PKI of its own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from certs.core.profile import Role
from tests.support.certs import Platform
from tests.support.postgres import free_port
from tests.support.servers import server

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx"


@contextmanager
def nginx(platform: Platform, doors: Sequence[str]) -> Iterator[str]:
    """Start it in front of doors (``host:port``) and lend its address; it is gone at the end."""
    found, port = server("nginx"), free_port()
    with tempfile.TemporaryDirectory(prefix="headgate-nginx-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # its workers are nobody's
        shipped = (SHIPPED / "nginx.conf").read_text()
        assert shipped.count("listen 8443 ssl;") == 1
        placed = shipped.replace("listen 8443 ssl;", f"listen 127.0.0.1:{port} ssl;")
        (folder / "nginx.conf").write_text(placed)
        (folder / "doors.conf").write_text("".join(f"server {door};\n" for door in doors))
        (folder / "tmp").mkdir()
        _place(platform, folder / "pki")
        process = subprocess.Popen(
            [found.program, "-p", scratch, "-e", "error.log", "-c", "nginx.conf",
             "-g", "daemon off;"],
            env={**os.environ, **found.env},
        )  # fmt: skip
        try:
            yield f"https://localhost:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _place(platform: Platform, pki: Path) -> None:
    pki.mkdir()
    own = platform.issue(Role.SERVER, "door")
    for name in ("cert.pem", "key.pem"):
        shutil.copyfile(own / name, pki / name)
    shutil.copyfile(platform.trust, pki / "trust.pem")
    shutil.copyfile(platform.revoked, pki / "revoked.pem")
