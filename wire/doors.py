"""Doors by name: virtual hubs, one a replica, that speak for sensors as one.

The names are reserved: who is enrolled under one is a door, and no real hub is called so.
"""

import re
from typing import Final

from wire.ids import HubId, SensorId
from wire.limits import SENSOR_ID_MAX

EVERY_DOOR: Final = HubId("http")
"""Who speaks for a sensor that reaches us by doors, whichever it comes to."""

_HTTP: Final = re.compile(r"http(-[0-9]{1,4})?", re.ASCII)
_SENSORS: Final = re.compile(r"sensors(-[0-9]{1,4})?", re.ASCII)
_SENSOR: Final = re.compile(r"sensor-(0|[1-9][0-9]{0,18})", re.ASCII)


def is_sensors_door(name: str) -> bool:
    """Return whether a door of this name takes what sensors publish by MQTT."""
    return _SENSORS.fullmatch(name) is not None


def is_door(name: str) -> bool:
    """Return whether a hub of this name is a door."""
    return _HTTP.fullmatch(name) is not None or is_sensors_door(name)


def speaker(hub_id: HubId) -> HubId:
    """Return as whom a hub speaks for sensors: as itself, or as every door does."""
    return EVERY_DOOR if is_door(hub_id) else hub_id


def sensor_name(sensor_id: SensorId) -> str:
    """Return what a sensor with a certificate of its own is called."""
    return f"sensor-{sensor_id}"


def named_sensor(name: str) -> SensorId | None:
    """Return which sensor a certificate of this name is for; None if for none."""
    found = _SENSOR.fullmatch(name)
    if found is None or int(found[1]) > SENSOR_ID_MAX:
        return None
    return SensorId(int(found[1]))


def is_reserved(name: str) -> bool:
    """Return whether no hub may be called so: it is a door's name, or a sensor's."""
    return is_door(name) or named_sensor(name) is not None
