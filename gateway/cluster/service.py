"""Putting the topology there, letting hubs in, and showing them out."""

from collections.abc import Collection
from typing import Final

from gateway.cluster.check import Live
from gateway.cluster.files import (
    Definitions,
    definitions,
    permission,
    region_definitions,
    topic_permission,
)
from gateway.cluster.files import user as user_definition
from gateway.cluster.ports import Management
from gateway.cluster.topology import Rights, hub_rights, sensor_rights
from wire.clock import Clock
from wire.doors import is_door, is_reserved, sensor_name
from wire.errors import HeadgateError, InfrastructureError
from wire.ids import HubId, Region, SensorId, is_name
from wire.queues import SERVICES, VHOST

REVOKED_WITHIN_MS: Final = 50_000
_ASK_AGAIN_MS: Final = 250
_LOOKS: Final = 3


class ForbiddenNameError(HeadgateError):
    """No hub or region may be called that."""


async def declare(management: Management, regions: Collection[Region]) -> None:
    """Make everything that is missing; take nothing away. Idempotent.

    Raises:
        ForbiddenNameError: Of a region.
        InfrastructureError: It may be half done; say it again.
    """
    for region in regions:
        _check_name(region)
    wanted = definitions(regions)
    # Who has rights but no topics named yet would be allowed them all: rights come last.
    rights = wanted.pop("permissions")
    await management.define(wanted)
    await management.define({"permissions": rights})
    # Whoever makes a vhost is let into it, and would be one who enters with a password.
    await management.shut_out(VHOST, management.user)


async def enrol(management: Management, region: Region, hub_id: HubId) -> None:
    """Let a hub in by its certificate, to its own topics, which its region's log keeps. Idempotent.

    Raises:
        ForbiddenNameError: Of the hub or its region.
        InfrastructureError: It may be half done, and then lets nobody in; say it again.
    """
    _check_name(region)
    _check_name(hub_id)
    if hub_id in SERVICES or is_reserved(hub_id):
        raise ForbiddenNameError(
            f"{hub_id} is a stage's, a door's or a sensor's name, not a hub's; there are "
            "enrol-door and enrol-sensor"
        )
    await _let_in(management, hub_id, hub_rights(region, hub_id), region_definitions(region))


async def enrol_door(management: Management, region: Region, name: HubId) -> None:
    """Let a door in by its certificate, as the virtual hub it is. Idempotent.

    Raises:
        ForbiddenNameError: Of the door or its region.
        InfrastructureError: It may be half done, and then lets nobody in; say it again.
    """
    _check_name(region)
    if not is_door(name):
        raise ForbiddenNameError(f"{name[:80]!r} is no door: http, http-0, sensors, sensors-0 ...")
    await _let_in(management, name, hub_rights(region, name), region_definitions(region))


async def enrol_sensor(management: Management, sensor_id: SensorId) -> None:
    """Let a sensor without a hub in by its certificate, to its own topics. Idempotent.

    Raises:
        InfrastructureError: It may be half done, and then lets nobody in; say it again.
    """
    await _let_in(management, sensor_name(sensor_id), sensor_rights(sensor_id), {})


async def _let_in(management: Management, name: str, rights: Rights, places: Definitions) -> None:
    person = {
        "users": [user_definition(name)],
        "topic_permissions": [topic_permission(name, rights)],
    }
    await management.define(places | person)
    await management.define({"permissions": [permission(name, rights)]})


async def revoke(management: Management, hub_id: HubId, clock: Clock) -> None:
    """Shut a hub out, end its connections, and forget it. Idempotent.

    Until the last connection is gone the user stays, for its topics go with it, and a connection
    of a user without any would be allowed them all.

    Raises:
        ForbiddenNameError: It is a stage.
        InfrastructureError: It is not over; say it again.
    """
    _check_name(hub_id)
    if hub_id in SERVICES:
        raise ForbiddenNameError(f"{hub_id} is a stage, not a hub")
    deadline_ms = clock.steady_ms() + REVOKED_WITHIN_MS
    await management.shut_out(VHOST, hub_id)
    quiet = 0
    while quiet < _LOOKS:  # who was let in a moment ago may show up only now
        quiet = 0 if await management.hang_up(hub_id) else quiet + 1
        if clock.steady_ms() > deadline_ms:
            raise InfrastructureError(f"{hub_id} is still connected")
        await clock.sleep_ms(_ASK_AGAIN_MS)
    await management.forget(hub_id)


async def look(management: Management) -> Live:
    """Return the cluster as it stands.

    Raises:
        InfrastructureError: It does not answer.
    """
    return Live(
        await management.definitions(),
        await management.listeners(),
        await management.nodes(),
        await management.members(VHOST),
    )


def _check_name(name: str) -> None:
    if not is_name(name):
        raise ForbiddenNameError(f"{name[:80]!r} is not [a-z0-9-]{{1,64}}")
