"""Which broker a stage stands at: the scheme of its address says it, the stage does not."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from cloud.core.errors import OperatorError
from cloud.ports import Inbox, Lanes
from cloud.settings import StageSettings
from wire.clock import Clock
from wire.queues import Queue
from wire.topics import Channel, Lane, every_hub, lane_topic


class Connection(Inbox, Lanes, Protocol):
    """One connection: what comes, and the way back."""

    @property
    def dropped(self) -> int:
        """How many messages found no room since the start; they come again."""
        ...

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait to be taken."""
        ...


@dataclass(frozen=True, slots=True)
class Reads:
    """What a stage takes, as either broker calls it.

    Attributes:
        filters: On MQTT.
        queues: On RabbitMQ, where who reads them together shares them out.
        alone: Whether on RabbitMQ one worker reads and others stand by: shares mean nothing.
    """

    filters: tuple[str, ...]
    queues: tuple[str, ...]
    alone: bool = False


INGEST = Reads(
    tuple(map(every_hub, (Channel.BATCH, Channel.URGENT, Channel.HELLO))), (Queue.INGEST,)
)
SUSPECTS = Reads((), (Queue.DEAD_LETTERS,))
DETECT = {
    Channel.BATCH: Reads((every_hub(Channel.BATCH),), (Queue.DETECT,), alone=True),
    Channel.URGENT: Reads((every_hub(Channel.URGENT),), (Queue.DETECT_URGENT,), alone=True),
}
ALERT = Reads((lane_topic(Lane.HIGH),), (Lane.HIGH,))
REFRESH = Reads(
    (*map(every_hub, (Channel.HEALTH, Channel.STATUS)), lane_topic(Lane.MEDIUM)),
    (Queue.HEALTH, Lane.MEDIUM),
)

Connect = Callable[[], AbstractAsyncContextManager[Connection]]


def suspects(settings: StageSettings, prefetch: int, clock: Clock) -> Connect | None:
    """Return what connects to batches the broker set aside; None where brokers do not do that.

    Raises:
        OperatorError: As ``connects``.
    """
    if not _is_amqps(settings):
        return None
    return connects(settings, "", SUSPECTS, clock, prefetch=prefetch)


def connects(
    settings: StageSettings,
    client_id: str,
    reads: Reads,
    clock: Clock,
    keeps: Callable[[str], bool] = lambda _: True,
    *,
    prefetch: int | None = None,
) -> Connect:
    """Return what connects a stage, again and again.

    Args:
        settings: Where, and how we prove who we are.
        client_id: Stable, one a process; MQTT only.
        reads: What to take.
        clock: Dates what comes.
        keeps: Which topics are ours among those that match; MQTT only.
        prefetch: How much may be with us unacknowledged, None for as much as we bear; AMQPS only.

    Raises:
        OperatorError: The settings name no broker, or not the secret that goes with it.
    """
    try:
        if _is_amqps(settings):
            return _amqps(settings, reads, clock, prefetch)
        return _mqtt(settings, client_id, reads.filters, clock, keeps)
    except (ValueError, OSError) as exc:
        raise OperatorError(str(exc), hint="docs/operate.md names every variable") from exc


def _is_amqps(settings: StageSettings) -> bool:
    return settings.broker_url.partition(":")[0] == "amqps"


def _amqps(settings: StageSettings, reads: Reads, clock: Clock, prefetch: int | None) -> Connect:
    from cloud.adapters import amqp  # a stage pays for the library of one broker only

    if reads.alone and settings.share.count > 1:
        raise ValueError("HEADGATE_SHARE: on RabbitMQ one worker reads here, further ones stand by")
    folder = settings.broker_tls
    if folder is None:
        raise ValueError("HEADGATE_BROKER_TLS is not set: who speaks AMQPS needs a certificate")
    broker = amqp.Broker.read(
        settings.broker_url, folder / "trust.pem", folder / "cert.pem", folder / "key.pem"
    )
    window = amqp.PREFETCH if prefetch is None else prefetch
    return lambda: amqp.connected(broker, reads.queues, clock, prefetch=window)


def _mqtt(
    settings: StageSettings,
    client_id: str,
    filters: Sequence[str],
    clock: Clock,
    keeps: Callable[[str], bool],
) -> Connect:
    from cloud.adapters import mqtt

    if settings.broker_token_file is None:
        raise ValueError("HEADGATE_BROKER_TOKEN_FILE is not set: who speaks MQTT needs a token")
    broker = mqtt.Broker.read(settings.broker_url, settings.broker_token_file)
    return lambda: mqtt.connected(broker, client_id, filters, clock, keeps=keeps)
