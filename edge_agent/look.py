"""A hub seen from outside: is it set up right, what waits in its spool. Changes nothing."""

import importlib.util
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Final

from certs.tls import ends_ms
from edge_agent.adapters.room import disk_free_bytes
from edge_agent.settings import (
    Address,
    HubSettings,
    SettingsError,
    check_certificate,
    read_token,
)
from wire.clock import SystemClock
from wire.errors import InfrastructureError
from wire.limits import MIB

REACHED_WITHIN_S: Final = 3.0
DAY_MS: Final = 86_400_000

_DEPTHS: Final = """
    select count(*), coalesce(sum(size), 0), coalesce(sum(rows), 0),
           min(observed_from_ms), max(observed_to_ms),
           (select count(*) from intake), (select count(*) from quarantine)
    from batches
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the way of a hub.

    Attributes:
        what: Is wrong.
        type_this: The next command.
    """

    what: str
    type_this: str


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits on disk.

    Attributes:
        batches: Sealed, without a receipt.
        rows: In them.
        bytes: Of them on the wire.
        bytes_max: What may wait before the oldest are thinned: the cap, or the free disk if less.
        oldest_ms: Time of the oldest reading in them, Unix ms; None if there are none.
        newest_ms: Time of the newest.
        intake: Readings not in a batch yet.
        quarantined: Batches the store refused.
        days_left: At the rate at which the waiting batches came; None if they tell no rate.
    """

    batches: int
    rows: int
    bytes: int
    bytes_max: int
    oldest_ms: int | None
    newest_ms: int | None
    intake: int
    quarantined: int
    days_left: float | None

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name."""
        return asdict(self)


def faults(settings: HubSettings) -> Iterator[Fault]:
    """Yield what keeps this hub from running here, each with the command that helps."""
    yield from _proof_faults(settings)
    yield from _disk_faults(settings)
    listen, sensors = settings.sensors.listen, settings.sensors.url
    if listen is not None:
        if importlib.util.find_spec("amqtt") is None:
            yield Fault(
                "sensors.listen needs amqtt, which is not installed",
                "pip install 'headgate[edge,broker]'",
            )
        if why := _taken(listen):
            yield Fault(
                f"sensors.listen: {listen.host}:{listen.port} cannot be used: {why}",
                f"ss -ltnp 'sport = :{listen.port}'",
            )
    brokers = [("uplink.url", node) for node in settings.uplink.url.nodes]
    brokers += [("sensors.url", sensors)] if sensors else []
    for key, address in brokers:
        if why := _unreachable(address):
            yield Fault(
                f"{key}: nobody answers at {address.host}:{address.port}: {why}",
                f"nc -vz {address.host} {address.port}",
            )


def spool_state(settings: HubSettings) -> SpoolState:
    """Return what waits in the hub's spool, whether or not its agent runs.

    Raises:
        InfrastructureError: There is no spool to be read.
    """
    path = settings.data_dir / "spool.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as spool:
            found = spool.execute(_DEPTHS).fetchone()
    except sqlite3.Error as exc:
        raise InfrastructureError(
            f"{path}: no spool to be read ({exc}); has the hub run yet? "
            "type: headgate-edge run --config FILE"
        ) from exc
    batches, size, rows, oldest_ms, newest_ms, intake, quarantined = found
    bytes_max = min(settings.spool_bytes_max, size + disk_free_bytes(settings.data_dir))
    days_left = None
    if batches > 1 and newest_ms > oldest_ms and size:
        days_left = (bytes_max - size) * (newest_ms - oldest_ms) / size / DAY_MS
    return SpoolState(
        batches, rows, size, bytes_max, oldest_ms, newest_ms, intake, quarantined, days_left
    )


def _proof_faults(settings: HubSettings) -> Iterator[Fault]:
    uplink, hub_id = settings.uplink, settings.hub_id
    try:
        if uplink.token_file is not None:
            read_token(uplink.token_file)
        if uplink.certificate_dir is not None:
            check_certificate(uplink.certificate_dir, hub_id)
            if ends_ms(uplink.certificate_dir) <= SystemClock().now_ms():
                yield Fault(
                    f"{uplink.certificate_dir}/cert.pem has ended, or this clock is ahead",
                    "headgate certs renew (on the platform; carry cert.pem here)",
                )
    except SettingsError as exc:
        enrol = f"python -m gateway enrol {hub_id} --role hub --region {settings.region}"
        helps = f"{enrol} --identities DIR --token-file {uplink.token_file}"
        if uplink.certificate_dir is not None:
            helps = f"headgate certs request {hub_id} --out {uplink.certificate_dir}"
        yield Fault(str(exc), helps)


def _disk_faults(settings: HubSettings) -> Iterator[Fault]:
    folder = settings.data_dir
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Fault(f"data_dir: {folder} cannot be written", f"sudo chown $(id -u) {existing}")
        return
    free = disk_free_bytes(existing)
    if free < settings.spool_bytes_max:
        yield Fault(
            f"spool_bytes_max: {settings.spool_bytes_max // MIB} MiB is more than the "
            f"{free // MIB} MiB free at {existing}: the oldest rows would be thinned sooner",
            f"df -h {existing}",
        )


def _taken(address: Address) -> str | None:
    try:
        with closing(socket.socket()) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            own.bind(address)
    except OSError as exc:
        return str(exc)
    return None


def _unreachable(address: Address) -> str | None:
    try:
        with closing(socket.create_connection(address, timeout=REACHED_WITHIN_S)):
            return None
    except OSError as exc:
        return str(exc)
