"""A holder that keeps its own key: made on its machine, never sent anywhere."""

from pathlib import Path

from certs.authority import x509
from certs.authority.disk import Disk
from certs.authority.place import must_be_closed, outside_git
from certs.authority.store import KEY
from certs.core.errors import CertsError
from certs.core.names import alt_names
from certs.core.profile import Role

REQUEST = "request.csr"


def make_request(folder: Path, name: str, disk: Disk) -> Path:
    """Write a key and a signing request for it; return the request. A key there is kept.

    Raises:
        CertsError: The name or the place is unfit, or what lies there is no key of ours.
    """
    alt_names(Role.HUB, name)
    place = outside_git(folder)
    disk.make_folder(place)
    key_file, asked = place / KEY, place / REQUEST
    must_be_closed(key_file)
    if not key_file.exists():
        _write(disk, key_file, x509.key_pem(x509.new_key()))
    try:
        key = x509.load_key(key_file.read_bytes())
    except ValueError as exc:
        raise CertsError(f"{key_file} is no P-256 key", hint="choose another --out") from exc
    _write(disk, asked, x509.request(name, key))
    return asked


def _write(disk: Disk, path: Path, body: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    disk.remove(draft)
    disk.write_new(draft, body)
    disk.move(draft, path)
