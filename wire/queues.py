"""Names of what lies between stages on a RabbitMQ cluster: the gateway declares it, stages use it.

Lanes are ``wire.topics.Lane``: the exchange ``LANES`` is direct, a lane's key is its queue's name.
"""

from enum import StrEnum
from typing import Final

from wire.errors import MalformedMessageError
from wire.ids import Region

VHOST: Final = "headgate"
TOPICS: Final = "amq.topic"  # where MQTT publishes; ``/`` in a topic is ``.`` in a routing key
LANES: Final = "lanes"
DEAD: Final = "dead"
ATTEMPTS_HEADER: Final = "x-headgate-attempts"
RETRY_DELAYS_MS: Final = tuple(1_000 * 4**step for step in range(5))  # 1 s to 256 s
# Users at the broker are named by certificates' common names: no hub may be called one of these.
SERVICES: Final = frozenset(
    {"ingest", "detect", "alert", "refresh", "work", "schedule", "api", "replay"}
)


class Queue(StrEnum):
    """A queue that is not a lane; the value is its name."""

    INGEST = "ingest"
    DETECT = "detect"
    DETECT_URGENT = "detect.urgent"
    SENSORS = "sensors"
    HEALTH = "health"
    DEAD_LETTERS = "dead_letters"  # hubs' batches, which ingest judges alone
    DEAD_SENSORS = "dead_sensors"  # sensors' messages, which a door judges alone
    DEAD_JOBS = "dead_jobs"  # what no stage could do; for people


def retry(step: int) -> str:
    """Return the exchange, and its queue, that returns a message after ``RETRY_DELAYS_MS[step]``.

    Raises:
        ValueError: There is no such step.
    """
    if not 0 <= step < len(RETRY_DELAYS_MS):
        raise ValueError(f"no retry {step}")
    return f"retry.{step}"


def log(region: Region) -> str:
    """Return the stream that keeps what a region's hubs have sent."""
    return f"log.{region}"


def routing_key(topic: str) -> str:
    """Return an MQTT topic as AMQP spells it.

    Raises:
        MalformedMessageError: It has a dot: the two spellings would not tell it from a slash.
    """
    if "." in topic:
        raise MalformedMessageError("a topic with a dot has no routing key of its own")
    return topic.replace("/", ".")


def topic(routing_key: str) -> str:
    """Return the MQTT topic a routing key spells."""
    return routing_key.replace(".", "/")
