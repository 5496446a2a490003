"""Topic names: who may say what to whom, as text. MQTT ``/`` is AMQP ``.``."""

from enum import StrEnum
from typing import Final, NamedTuple

from wire.errors import MalformedMessageError
from wire.ids import HubId, Region, SensorId, is_name
from wire.limits import SENSOR_ID_MAX

PREFIX: Final = "headgate/1"
SENSOR_DATA_FILTER: Final = "sensors/+/data"


class Channel(StrEnum):
    """The last level of a hub's topic."""

    BATCH = "batch"
    URGENT = "urgent"
    HELLO = "hello"
    HEALTH = "health"
    STATUS = "status"
    RECEIPT = "receipt"
    DESIRED = "desired"


UPWARD: Final = frozenset(
    {Channel.BATCH, Channel.URGENT, Channel.HELLO, Channel.HEALTH, Channel.STATUS}
)
DOWNWARD: Final = frozenset({Channel.RECEIPT, Channel.DESIRED})
assert frozenset(Channel) == UPWARD | DOWNWARD


class Lane(StrEnum):
    """A priority path between stages; the value is its queue's name."""

    HIGH = "high_priority_queue"
    MEDIUM = "medium_priority_queue"
    LOW = "low_priority_queue"


class Address(NamedTuple):
    """One channel of one hub."""

    region: Region
    hub_id: HubId
    channel: Channel


def topic(region: Region, hub_id: HubId, channel: Channel) -> str:
    """Return the topic of one channel of one hub."""
    return f"{PREFIX}/{region}/{hub_id}/{channel}"


def every_hub(channel: Channel) -> str:
    """Return the filter that matches this channel of every hub in every region."""
    return f"{PREFIX}/+/+/{channel}"


def lane_topic(lane: Lane) -> str:
    """Return the topic of a lane on a broker without queues."""
    return f"{PREFIX}/lane/{lane.name.lower()}"


def parse(text: str) -> Address:
    """Return whose channel a topic is.

    Raises:
        MalformedMessageError: It is no hub's topic.
    """
    levels = text.split("/")
    if len(levels) == 5 and f"{levels[0]}/{levels[1]}" == PREFIX:
        region, hub_id, channel = levels[2:]
        if is_name(region) and is_name(hub_id) and channel in frozenset(Channel):
            return Address(Region(region), HubId(hub_id), Channel(channel))
    raise MalformedMessageError("topic is no hub's channel")


def sensor_data(sensor_id: SensorId) -> str:
    """Return the topic a sensor publishes its readings on."""
    return f"sensors/{sensor_id}/data"


def sensor_status(sensor_id: SensorId) -> str:
    """Return the topic a sensor hears back on: what is committed, what was throttled."""
    return f"sensors/{sensor_id}/status"


def parse_sensor_data(text: str) -> SensorId:
    """Return which sensor a ``sensors/{sensor_id}/data`` topic belongs to.

    Raises:
        MalformedMessageError: It is no sensor's data topic.
    """
    levels = text.split("/")
    if len(levels) == 3 and levels[0] == "sensors" and levels[2] == "data":
        number = levels[1]
        if number.isascii() and number.isdigit() and len(number) <= 19:
            sensor_id = int(number)
            if sensor_id <= SENSOR_ID_MAX:
                return SensorId(sensor_id)
    raise MalformedMessageError("topic is no sensor's data topic")
