"""The cluster's topology as data: exchanges, queues, who may use them. The one place that says so.

Everything a hub may publish has a queue, or the broker would acknowledge and drop it. Every queue
is bounded in bytes and says what happens when it is full. Bounds are policies, which can change
under a running queue; arguments cannot, so only the kind of a queue is one.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from wire import queues
from wire.doors import is_sensors_door, sensor_name
from wire.ids import HubId, Region, SensorId
from wire.limits import MIB
from wire.queues import DEAD, LANES, RETRY_DELAYS_MS, TOPICS, Queue, retry
from wire.topics import (
    DOWNWARD,
    PREFIX,
    SENSOR_DATA_FILTER,
    UPWARD,
    Channel,
    Lane,
    every_hub,
    sensor_data,
    sensor_status,
)
from wire.topics import topic as hub_topic

GIB: Final = 1_024 * MIB
LENT_MAX: Final = 6
"""By then a message that kills who reads it is a suspect.

A lost connection counts as a death does: RabbitMQ cannot tell. Rolling three nodes may cost three,
and whoever reads may be killed meanwhile. One that is guilty is tried three times again, alone.
"""
LOG_KEPT: Final = "7D"
NOTHING: Final = "^$"

REJECT: Final = "reject-publish"
DROP_OLDEST: Final = "drop-head"

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Binding:
    """What reaches a queue: an exchange and a key."""

    exchange: str
    key: str


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """One queue.

    Attributes:
        name: Unique in the vhost.
        bindings: What reaches it.
        limits: The policy on it; always says how many bytes it may hold.
        arguments: What can never change under it.
    """

    name: str
    bindings: tuple[Binding, ...]
    limits: Mapping[str, Value]
    arguments: Mapping[str, Value] = field(default_factory=lambda: {"x-queue-type": "quorum"})


@dataclass(frozen=True, slots=True)
class Rights:
    """What one user may do: RabbitMQ's regular expressions, each anchored at both ends.

    Attributes:
        configure: Names it may declare or delete.
        write: Exchanges and queues it may write to.
        read: Exchanges and queues it may read from.
        publish: Routing keys it may publish on ``amq.topic``.
        subscribe: Routing keys it may bind to on ``amq.topic``.
    """

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    publish: str = NOTHING
    subscribe: str = NOTHING


EXCHANGES: Final[Mapping[str, str]] = {
    LANES: "direct",
    DEAD: "topic",
    **{retry(step): "fanout" for step in range(len(RETRY_DELAYS_MS))},
}


def queue_specs() -> tuple[QueueSpec, ...]:
    """Return every queue that is there wherever hubs stand."""
    return (
        *_FROM_HUBS,
        *(_lane(lane, *bounds) for lane, bounds in _LANES.items()),
        *(_retry(step, delay_ms) for step, delay_ms in enumerate(RETRY_DELAYS_MS)),
        *_DEAD,
    )


def log_spec(region: Region) -> QueueSpec:
    """Return the stream that keeps what a region's hubs send, for replay."""
    any_hub = HubId("*")
    topics = (hub_topic(region, any_hub, each) for each in (Channel.BATCH, Channel.URGENT))
    return QueueSpec(
        queues.log(region),
        tuple(Binding(TOPICS, queues.routing_key(each)) for each in topics),
        {"max-length-bytes": 32 * GIB, "max-age": LOG_KEPT},
        {"x-queue-type": "stream"},
    )


def service_rights() -> dict[str, Rights]:
    """Return what each stage may do, by its user's name."""
    return dict(_SERVICES)


def hub_rights(region: Region, hub_id: HubId) -> Rights:
    """Return what a hub may do: its own literal topics, and the session of its own client id.

    A door for sensors may also read what they publish, and tell each what became of it.
    """
    session = _session(hub_id)
    publish, reads = [_literal(key) for key in _own(region, hub_id, UPWARD)], [_literal(TOPICS)]
    if is_sensors_door(hub_id):
        publish.append(_ANY_STATUS)
        reads += map(_literal, (Queue.SENSORS, Queue.DEAD_SENSORS))
    return Rights(
        configure=_any(session),
        write=_any(_literal(TOPICS), session),
        read=_any(*reads, session),
        publish=_any(*publish),
        subscribe=_any(*map(_literal, _own(region, hub_id, DOWNWARD))),
    )


def sensor_rights(sensor_id: SensorId) -> Rights:
    """Return what a sensor without a hub may do: say its readings, and hear what became of them."""
    session = _session(sensor_name(sensor_id))
    return Rights(
        configure=_any(session),
        write=_any(_literal(TOPICS), session),
        read=_any(_literal(TOPICS), session),
        publish=_any(_literal(queues.routing_key(sensor_data(sensor_id)))),
        subscribe=_any(_literal(queues.routing_key(sensor_status(sensor_id)))),
    )


def _session(name: str) -> str:
    # A client id others can guess is one they can throw out: a dot and random digits may follow.
    return rf"mqtt-subscription-{re.escape(name)}(\.[0-9a-f]{{1,32}})?qos[01]"


def _own(region: Region, hub_id: HubId, channels: Collection[Channel]) -> list[str]:
    return [queues.routing_key(hub_topic(region, hub_id, each)) for each in sorted(channels)]


def _bounded(bytes_max: int, overflow: str, **more: Value) -> dict[str, Value]:
    limits = {name.replace("_", "-"): value for name, value in more.items()}
    return {"max-length-bytes": bytes_max, "overflow": overflow, **limits}


def _suspicious(bytes_max: int) -> dict[str, Value]:
    """Return the limits of a queue whose poison is set aside, itself without loss."""
    return _bounded(
        bytes_max,
        REJECT,
        delivery_limit=LENT_MAX - 1,
        dead_letter_exchange=DEAD,
        dead_letter_strategy="at-least-once",
    )


def _from_hubs(*channels: Channel) -> tuple[Binding, ...]:
    return tuple(Binding(TOPICS, _pattern(every_hub(each))) for each in channels)


def _pattern(topic_filter: str) -> str:
    return queues.routing_key(topic_filter).replace("+", "*")


def _literal(key: str) -> str:
    return re.escape(key)


def _any(*patterns: str) -> str:
    # \z, for $ would admit a newline at the end.
    return rf"\A({'|'.join(patterns)})\z"


_RETRIES: Final = rf"{DEAD}|retry\.[0-9]"

# One worker owns a hub's state, so one connection at a time reads; others stand by.
_ONE_READER: Final[Mapping[str, Value]] = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
}

_FROM_HUBS: Final = (
    QueueSpec(
        Queue.INGEST,
        _from_hubs(Channel.BATCH, Channel.URGENT, Channel.HELLO),
        _suspicious(4 * GIB),
    ),
    # What these two drop, the sweep finds in the tables.
    QueueSpec(
        Queue.DETECT,
        _from_hubs(Channel.BATCH),
        _bounded(512 * MIB, DROP_OLDEST, delivery_limit=LENT_MAX - 1),
        _ONE_READER,
    ),
    QueueSpec(
        Queue.DETECT_URGENT,
        _from_hubs(Channel.URGENT),
        _bounded(128 * MIB, DROP_OLDEST, delivery_limit=LENT_MAX - 1),
        _ONE_READER,
    ),
    QueueSpec(
        Queue.SENSORS, (Binding(TOPICS, _pattern(SENSOR_DATA_FILTER)),), _suspicious(1 * GIB)
    ),
    # The newest word of a hub is the one that counts.
    QueueSpec(
        Queue.HEALTH,
        _from_hubs(Channel.HEALTH, Channel.STATUS),
        _bounded(128 * MIB, DROP_OLDEST, delivery_limit=LENT_MAX - 1),
    ),
)

_LANES: Final = {
    Lane.HIGH: (64 * MIB, REJECT),  # a wake-up: what it is about is in a table
    Lane.MEDIUM: (64 * MIB, DROP_OLDEST),  # fresh values: newer ones replace them
    Lane.LOW: (256 * MIB, REJECT),
}


def _lane(lane: Lane, bytes_max: int, overflow: str) -> QueueSpec:
    limits = _suspicious(bytes_max) if overflow == REJECT else _bounded(bytes_max, overflow)
    return QueueSpec(lane, (Binding(LANES, lane),), limits)


def _retry(step: int, delay_ms: int) -> QueueSpec:
    """Return a queue nobody reads: what lies in it for its time goes back to its own lane."""
    limits = _bounded(
        64 * MIB,
        REJECT,
        message_ttl=delay_ms,
        dead_letter_exchange=LANES,
        dead_letter_strategy="at-least-once",
    )
    return QueueSpec(retry(step), (Binding(retry(step), ""),), limits)


# A dead letter keeps its routing key: whoever could judge the living message judges the dead one.
_DEAD: Final = (
    QueueSpec(
        Queue.DEAD_LETTERS, (Binding(DEAD, f"{_pattern(PREFIX)}.#"),), _bounded(1 * GIB, REJECT)
    ),
    QueueSpec(
        Queue.DEAD_SENSORS,
        (Binding(DEAD, _pattern(SENSOR_DATA_FILTER)),),
        _bounded(1 * GIB, REJECT),
    ),
    QueueSpec(
        Queue.DEAD_JOBS,
        tuple(Binding(DEAD, lane) for lane in Lane),
        _bounded(64 * MIB, DROP_OLDEST),
    ),
)

_ANY_STATUS: Final = r"sensors\.[0-9]{1,19}\.status"
_TOPIC_NAME: Final = "[a-z0-9-]+"
_SERVICES: Final = {
    "ingest": Rights(
        read=_any(*map(_literal, (Queue.INGEST, Queue.DEAD_LETTERS))),
        write=_any(*map(_literal, (TOPICS, LANES))),
        publish=_any(rf"headgate\.1\.{_TOPIC_NAME}\.{_TOPIC_NAME}\.{Channel.RECEIPT}"),
    ),
    "detect": Rights(
        read=_any(*map(_literal, (Queue.DETECT, Queue.DETECT_URGENT))), write=_any(LANES)
    ),
    "alert": Rights(read=_any(Lane.HIGH), write=_any(_RETRIES)),
    "refresh": Rights(read=_any(*map(_literal, (Queue.HEALTH, Lane.MEDIUM))), write=_any(_RETRIES)),
    "work": Rights(read=_any(Lane.LOW, Queue.DEAD_JOBS), write=_any(LANES, _RETRIES)),
    "schedule": Rights(write=_any(LANES)),
    "api": Rights(),
    "replay": Rights(read=_any(rf"{_literal(queues.log(Region('')))}{_TOPIC_NAME}")),
}
assert _SERVICES.keys() == queues.SERVICES
