"""The check of a cluster: silent about what is declared, and each unsafe thing named."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gateway.cluster.check import Live, conf_faults, faults
from gateway.cluster.files import (
    conf,
    definitions,
    permission,
    region_definitions,
    topic_permission,
    user,
)
from gateway.cluster.topology import hub_rights
from tests.support.builders import HUB, NORTH
from wire.ids import HubId, Region
from wire.queues import VHOST

Rows = list[dict[str, Any]]


def a_cluster(region: Region = NORTH, hub: HubId = HUB) -> Live:
    """Return a safe one of three nodes, with a hub."""
    declared = copy.deepcopy(definitions(()))
    rights = hub_rights(region, hub)
    added = region_definitions(region) | {
        "users": [user(hub)],
        "permissions": [permission(hub, rights)],
        "topic_permissions": [topic_permission(hub, rights)],
    }
    for kind, rows in added.items():
        declared[kind] += rows
    names = [f"r{number}@localhost" for number in (1, 2, 3)]
    nodes: Rows = [{"name": name, "running": True} for name in names]
    options = {"verify": "verify_peer", "fail_if_no_peer_cert": True}
    listeners: Rows = [
        {"node": "r1@localhost", "protocol": protocol, "port": port, "socket_opts": dict(options)}
        for protocol, port in (("amqp/ssl", 5671), ("mqtt/ssl", 8883), ("http", 15672))
    ]
    members = {each["name"]: list(names) for each in declared["queues"]}
    return Live(declared, listeners, nodes, members)


def row(rows: Rows, name: str) -> dict[str, Any]:
    return next(each for each in rows if name in (each.get("name"), each.get("user")))


def test_a_declared_cluster_has_no_faults() -> None:
    assert faults(a_cluster()) == []
    assert faults(a_cluster(Region("south-1"), HubId("a-hub-of-1"))) == []
    assert conf_faults(conf()) == []


def guest(live: Live) -> None:
    live.definitions["users"].append({"name": "guest", "password_hash": "x", "tags": []})


def stranger(live: Live) -> None:
    live.definitions["users"].append({"name": "bob", "password_hash": "", "tags": []})
    live.definitions["permissions"].append(permission("bob", hub_rights(NORTH, HUB)))


def classic(live: Live) -> None:
    row(live.definitions["queues"], "ingest")["arguments"]["x-queue-type"] = "classic"


def another_policy(live: Live) -> None:
    live.definitions["policies"].append(
        {
            "vhost": VHOST,
            "name": "mine",
            "pattern": "ing",
            "apply-to": "all",
            "definition": {"max-length": 5},
            "priority": 9,
        }
    )


BREAKAGES: list[tuple[Callable[[Live], object], str]] = [
    (classic, "queue ingest has x-queue-type classic, not quorum"),
    (lambda live: live.definitions["queues"].pop(0), "queue ingest is missing"),
    (
        lambda live: row(live.definitions["policies"], "ingest")["definition"].pop("overflow"),
        "queue ingest has overflow None, not reject-publish",
    ),
    (
        lambda live: row(live.definitions["policies"], "ingest")["definition"].pop(
            "max-length-bytes"
        ),
        "queue ingest has max-length-bytes None",
    ),
    (another_policy, "queue ingest has overflow None, not reject-publish"),
    (
        lambda live: live.definitions["queues"].append(
            {"name": "mine", "vhost": VHOST, "arguments": {}}
        ),
        "queue mine is not ours",
    ),
    (lambda live: live.definitions["bindings"].pop(0), "does not reach ingest"),
    (lambda live: live.definitions["exchanges"].pop(0), "exchange lanes is None, not direct"),
    (
        lambda live: row(live.definitions["users"], HUB).update(password_hash="x"),
        f"user {HUB} may enter headgate with a password",
    ),
    (guest, "user guest is there"),
    (stranger, "user bob has no topic permissions"),
    (
        lambda live: live.definitions["topic_permissions"].pop(),
        f"user {HUB} has no topic permissions",
    ),
    (
        lambda live: row(live.definitions["topic_permissions"], HUB).update(read=".*"),
        f"user {HUB} may do more or less than it should",
    ),
    (
        lambda live: row(live.definitions["permissions"], "alert").update(write=".*"),
        "user alert may do more or less than it should",
    ),
    (
        lambda live: live.definitions["policies"].append(
            {
                "vhost": VHOST,
                "name": "spread",
                "pattern": "^mqtt-",
                "apply-to": "queues",
                "definition": {"queue-master-locator": "min-masters"},
                "priority": 0,
            }
        ),
        "policy spread says queue-master-locator min-masters",
    ),
    (
        lambda live: live.listeners.append({"node": "r1", "protocol": "mqtt", "port": 1883}),
        "mqtt on port 1883 of r1 is reached without TLS",
    ),
    (
        lambda live: live.listeners[1]["socket_opts"].update(fail_if_no_peer_cert=False),
        "does not ask for a certificate",
    ),
    (lambda live: live.nodes[1].update(running=False), "node r2@localhost is down"),
    (
        lambda live: live.nodes[1].update(partitions=["r1@localhost"]),
        "node r2@localhost has parted from r1@localhost",
    ),
    (lambda live: live.members["ingest"].pop(), "queue ingest has 2 copies, not 3"),
]


@pytest.mark.parametrize(("damage", "says"), BREAKAGES, ids=[says for _, says in BREAKAGES])
def test_what_is_unsafe_is_named(damage: Callable[[Live], object], says: str) -> None:
    live = a_cluster()
    damage(live)
    assert says in "\n".join(faults(live))


def test_an_operator_may_choose_how_much_a_queue_holds() -> None:
    live = a_cluster()
    row(live.definitions["policies"], "ingest")["definition"]["max-length-bytes"] = 1
    assert faults(live) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("listeners.tcp.default = 5672", "without TLS"),
        ("mqtt.listeners.tcp.1 = 0.0.0.0:1883", "without TLS"),
        ("mqtt.allow_anonymous = true", "anybody"),
        ("ssl_options.verify = verify_none", "not checked"),
        ("ssl_options.fail_if_no_peer_cert = false", "without a certificate"),
        ("auth_mechanisms.2 = PLAIN", "without a certificate"),
        ("queue_master_locator = min-masters", "subscribing at once"),
        ("cluster_partition_handling = pause_minority", "stays apart"),
        ("mqtt.vhost = /", "hubs belong"),
        ("ssl_cert_login_from = distinguished_name", "common names"),
    ],
)
def test_an_unsafe_line_of_the_configuration_is_named(line: str, why: str) -> None:
    (said,) = conf_faults(conf() + line + "\n")
    assert why in said
    assert conf_faults(conf() + f"# {line}\n") == []
