"""Who may say what to whom: topics as data, permission as set membership.

Nothing is matched by pattern. A topic or filter is either spelt exactly as a rule spells it
or refused, so no odd spelling can widen what an identity may do.
"""

from typing import Final

from gateway.core.identity import Identity, Role
from wire.errors import MalformedMessageError
from wire.ids import HubId
from wire.topics import DOWNWARD, UPWARD, Channel, Lane, every_hub, lane_topic, parse, topic

_STAGE_FILTERS: Final[dict[Role, frozenset[str]]] = {
    Role.INGEST: frozenset(map(every_hub, (Channel.BATCH, Channel.URGENT, Channel.HELLO))),
    Role.DETECT: frozenset(map(every_hub, (Channel.BATCH, Channel.URGENT))),
    Role.ALERT: frozenset({lane_topic(Lane.HIGH)}),
    Role.REFRESH: frozenset(
        {every_hub(Channel.HEALTH), every_hub(Channel.STATUS), lane_topic(Lane.MEDIUM)}
    ),
    Role.API: frozenset(),
}
# A door speaks as a hub does, under its own name.
_SPEAKERS: Final = frozenset({Role.HUB, Role.HTTP})
_STAGE_LANE: Final = {Role.INGEST: lane_topic(Lane.MEDIUM), Role.DETECT: lane_topic(Lane.HIGH)}


def may_publish(identity: Identity, name: str) -> bool:
    """Return whether this identity may publish on the topic ``name``."""
    if identity.role in _SPEAKERS:
        return name in _own_topics(identity, UPWARD)
    if name == _STAGE_LANE.get(identity.role):
        return True
    return identity.role is Role.INGEST and _channel(name) is Channel.RECEIPT


def may_subscribe(identity: Identity, topic_filter: str) -> bool:
    """Return whether this identity may subscribe to the filter, as spelt."""
    if identity.role in _SPEAKERS:
        return topic_filter in _own_topics(identity, DOWNWARD)
    return topic_filter in _STAGE_FILTERS[identity.role]


def may_retain(name: str) -> bool:
    """Return whether the broker keeps the last message of a topic: a hub's status only."""
    return _channel(name) is Channel.STATUS


def _own_topics(identity: Identity, channels: frozenset[Channel]) -> frozenset[str]:
    return frozenset(topic(identity.region, HubId(identity.name), each) for each in channels)


def _channel(name: str) -> Channel | None:
    try:
        return parse(name).channel
    except MalformedMessageError:
        return None
