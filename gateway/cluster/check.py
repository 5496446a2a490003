"""What is unsafe about a cluster as it stands, each fault named. Pure: it judges what was read."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.cluster.files import definitions, permission, topic_permission
from gateway.cluster.topology import Rights, hub_rights, sensor_rights, service_rights
from wire.doors import named_sensor
from wire.ids import HubId, Region, is_name
from wire.queues import TOPICS, VHOST, log

Rows = list[dict[str, Any]]

COPIES_MIN: Final = 3
_SIZES: Final = frozenset({"max-length-bytes", "max-age"})  # an operator may choose them
_IN_THE_CLEAR: Final = frozenset({"amqp", "mqtt", "stomp", "stream", "http/web-mqtt"})
_SESSION: Final = re.compile(r"mqtt-subscription-[a-z0-9.-]+qos[01]", re.ASCII)
_OWN_REGION: Final = re.compile(r"headgate\\.1\\.((?:[a-z0-9]|\\-)+)\\.", re.ASCII)


@dataclass(frozen=True, slots=True)
class Live:
    """A cluster as its management API tells it.

    Attributes:
        definitions: Everything declared.
        listeners: What listens, and how.
        nodes: The members, and whether they run.
        members: On which nodes each replicated queue has a copy.
    """

    definitions: Mapping[str, Rows]
    listeners: Rows
    nodes: Rows
    members: Mapping[str, list[str]]

    def ours(self, kind: str) -> Rows:
        """Return what is declared of a kind in the data vhost."""
        return [each for each in self.definitions.get(kind, []) if each.get("vhost") == VHOST]


def faults(live: Live) -> list[str]:
    """Return what is wrong, each with what to do; empty if the cluster may be used."""
    regions = {region for region in map(_region_of, live.ours("topic_permissions")) if region}
    wanted = definitions(regions)
    return [
        *_queues(live, wanted),
        *_strange_queues(live, wanted),
        *_routes(live, wanted),
        *_policies(live),
        *_users(live),
        *_listeners(live),
        *_copies(live),
    ]


def conf_faults(text: str) -> list[str]:
    """Return what is wrong with a ``rabbitmq.conf``, as far as it says anything."""
    lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    said = {name.strip(): value.strip() for name, equals, value in lines if equals}
    return [
        f"rabbitmq.conf says {name} = {value}: {why}"
        for name, value in said.items()
        for pattern, unsafe, why in _UNSAFE_SETTINGS
        if re.fullmatch(pattern, name) and re.fullmatch(unsafe, value)
    ]


_UNSAFE_SETTINGS: Final = (
    (r"(mqtt\.)?listeners\.tcp(\..+)?", "(?!none$).*", "it is reached without TLS"),
    (r"mqtt\.allow_anonymous", "true", "anybody may publish"),
    (r"ssl_options\.verify", "(?!verify_peer$).*", "certificates are not checked"),
    (r"ssl_options\.fail_if_no_peer_cert", "(?!true$).*", "one enters without a certificate"),
    (r"auth_mechanisms\..+", "(?!EXTERNAL$).*", "services enter without a certificate"),
    (r"ssl_cert_login_from", "(?!common_name$).*", "users are named by common names"),
    (r"mqtt\.vhost", f"(?!{VHOST}$).*", f"hubs belong into {VHOST}"),
    (r"queue_master_locator", "min-masters", "many hubs subscribing at once break it"),
    (r"cluster_partition_handling", "(?!autoheal$).*", "a node that was frozen stays apart"),
)


def _queues(live: Live, wanted: Mapping[str, Rows]) -> Iterator[str]:
    there = {each["name"]: each["arguments"] for each in live.ours("queues")}
    limits = {each["name"]: each["definition"] for each in wanted["policies"]}
    for each in wanted["queues"]:
        name = each["name"]
        if name not in there:
            yield f"queue {name} is missing: headgate cluster declare"
            continue
        for argument in sorted(each["arguments"].keys() | there[name].keys()):
            is_, ought = there[name].get(argument), each["arguments"].get(argument)
            if is_ != ought:
                yield f"queue {name} has {argument} {is_}, not {ought}: drain, delete, declare it"
        yield from _limits(name, limits[name], _policy_on(live, name))


def _limits(name: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for limit in sorted(wanted.keys() | found.keys()):
        is_, ought = found.get(limit), wanted.get(limit)
        chosen = limit in _SIZES and is_ is not None
        if is_ != ought and not chosen:
            yield f"queue {name} has {limit} {is_}, not {ought}: headgate cluster declare"


def _policy_on(live: Live, queue: str) -> Mapping[str, Any]:
    """Return the policy RabbitMQ applies to a queue: the highest that matches, only one."""
    matching = [
        each
        for each in live.ours("policies")
        if each["apply-to"] in ("queues", "all") and re.search(each["pattern"], queue)
    ]
    highest = max(matching, key=lambda each: int(each["priority"]), default=None)
    return {} if highest is None else dict(highest["definition"])


def _strange_queues(live: Live, wanted: Mapping[str, Rows]) -> Iterator[str]:
    ours = {each["name"] for each in wanted["queues"]}
    for each in live.ours("queues"):
        name = each["name"]
        known = name in ours or name.startswith(log(Region(""))) or _SESSION.fullmatch(name)
        if not known:
            yield f"queue {name} is not ours and may fill the disk: delete it"


def _routes(live: Live, wanted: Mapping[str, Rows]) -> Iterator[str]:
    kinds = {each["name"]: each["type"] for each in live.ours("exchanges")}
    for each in wanted["exchanges"]:
        if (kind := kinds.get(each["name"])) != each["type"]:
            yield f"exchange {each['name']} is {kind}, not {each['type']}: headgate cluster declare"
    keys = ("source", "destination", "routing_key")
    there = {tuple(each[key] for key in keys) for each in live.ours("bindings")}
    for each in wanted["bindings"]:
        if tuple(each[key] for key in keys) not in there:
            yield (
                f"what is published as {each['routing_key']!r} on {each['source']} does not reach "
                f"{each['destination']}: headgate cluster declare"
            )


def _policies(live: Live) -> Iterator[str]:
    for each in live.ours("policies"):
        if each["definition"].get("queue-master-locator") == "min-masters":
            yield (
                f"policy {each['name']} says queue-master-locator min-masters, which many hubs "
                "subscribing at once break: say client-local"
            )


def _users(live: Live) -> Iterator[str]:
    people = {each["name"]: each for each in live.definitions["users"]}
    topics = {
        each["user"]: each for each in live.ours("topic_permissions") if each["exchange"] == TOPICS
    }
    rights = {each["user"]: each for each in live.ours("permissions")}
    if "guest" in people:
        yield "user guest is there, whose password everybody knows: delete it"
    for name in service_rights().keys() - rights.keys():
        yield f"user {name} is missing or has no rights: headgate cluster declare"
    for name, permitted in rights.items():
        if people[name].get("password_hash"):
            yield f"user {name} may enter {VHOST} with a password: clear it, or delete the user"
        if name not in topics:
            yield f"user {name} has no topic permissions, so it has them all: enrol it again"
        elif (ought := _rights_of(name, topics[name])) is None:
            yield f"user {name} is neither a stage, a hub nor a sensor: delete it"
        elif permitted != permission(name, ought) or topics[name] != topic_permission(name, ought):
            yield f"user {name} may do more or less than it should: declare, or enrol it again"


def _rights_of(name: str, topics: Mapping[str, Any]) -> Rights | None:
    if name in service_rights():
        return service_rights()[name]
    if (sensor_id := named_sensor(name)) is not None:
        return sensor_rights(sensor_id)
    region = _region_of(topics)
    return hub_rights(region, HubId(name)) if region and is_name(name) else None


def _region_of(topics: Mapping[str, Any]) -> Region | None:
    """Return where a hub stands, as the topics it may use say."""
    found = _OWN_REGION.search(str(topics["write"]))
    if found is None or topics["user"] in service_rights():
        return None
    return Region(found[1].replace("\\", ""))


def _listeners(live: Live) -> Iterator[str]:
    for each in live.listeners:
        where = f"{each['protocol']} on port {each['port']} of {each['node']}"
        options = each.get("socket_opts") or {}
        if each["protocol"] in _IN_THE_CLEAR:
            yield f"{where} is reached without TLS: listeners.tcp = none"
        elif each["protocol"] in ("amqp/ssl", "mqtt/ssl") and not (
            options.get("verify") == "verify_peer" and options.get("fail_if_no_peer_cert")
        ):
            yield f"{where} does not ask for a certificate: ssl_options.verify = verify_peer"


def _copies(live: Live) -> Iterator[str]:
    for each in live.nodes:
        if not each["running"]:
            yield f"node {each['name']} is down: start it"
        if apart := each.get("partitions"):
            yield f"node {each['name']} has parted from {' and '.join(apart)}: restart it"
    expected = min(COPIES_MIN, len(live.nodes))
    for queue, members in sorted(live.members.items()):
        if 0 < len(members) < expected:
            yield (
                f"queue {queue} has {len(members)} copies, not {expected}: "
                "rabbitmq-queues grow NODE all, for each node that lacks it"
            )
