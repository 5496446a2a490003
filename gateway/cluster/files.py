"""The topology as RabbitMQ's own files: ``definitions.json`` and the shared ``rabbitmq.conf``."""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.cluster.topology import (
    EXCHANGES,
    QueueSpec,
    Rights,
    log_spec,
    queue_specs,
    service_rights,
)
from gateway.core.limits import PACKET_BYTES_MAX
from wire.ids import Region
from wire.queues import TOPICS, VHOST

Definitions = dict[str, list[dict[str, Any]]]

MQTT_PORT: Final = 8883
AMQP_PORT: Final = 5671
MANAGEMENT_PORT: Final = 15672


def definitions(regions: Collection[Region]) -> Definitions:
    """Return what ``POST /api/definitions`` takes. Importing it again changes nothing."""
    services = sorted(service_rights().items())
    return {
        "vhosts": [{"name": VHOST}],
        "users": [user(name) for name, _ in services],
        "permissions": [permission(name, rights) for name, rights in services],
        "topic_permissions": [topic_permission(name, rights) for name, rights in services],
        "exchanges": [_exchange(name, kind) for name, kind in EXCHANGES.items()],
        **_queues((*queue_specs(), *map(log_spec, sorted(regions)))),
    }


def region_definitions(region: Region) -> Definitions:
    """Return what one more region adds."""
    return _queues((log_spec(region),))


def user(name: str) -> dict[str, Any]:
    """Return a user nobody can be but by certificate."""
    return {"name": name, "password_hash": "", "tags": []}


def permission(name: str, rights: Rights) -> dict[str, Any]:
    """Return what a user may declare, write to and read from."""
    return {
        "user": name,
        "vhost": VHOST,
        "configure": rights.configure,
        "write": rights.write,
        "read": rights.read,
    }


def topic_permission(name: str, rights: Rights) -> dict[str, Any]:
    """Return which topics a user may use; without one the broker would allow them all."""
    return {
        "user": name,
        "vhost": VHOST,
        "exchange": TOPICS,
        "write": rights.publish,
        "read": rights.subscribe,
    }


def render(regions: Collection[Region]) -> str:
    """Return ``definitions.json``."""
    return json.dumps(definitions(regions), indent=2) + "\n"


def conf() -> str:
    """Return the part of ``rabbitmq.conf`` every node shares, wherever it runs."""
    suites = (f"ssl_options.ciphers.{n} = {suite}" for n, suite in enumerate(_SUITES, start=1))
    return "\n".join((_SHARED, *suites)) + "\n"


_SHARED: Final = f"""\
# Written by `headgate cluster files`. What differs from node to node goes into a later file.

# Nobody enters in the clear, and nobody without a certificate.
listeners.tcp = none
listeners.ssl.1 = {AMQP_PORT}
mqtt.listeners.tcp = none
mqtt.listeners.ssl.1 = {MQTT_PORT}
auth_mechanisms.1 = EXTERNAL
ssl_cert_login_from = common_name
mqtt.ssl_cert_login = true
mqtt.allow_anonymous = false
mqtt.vhost = {VHOST}
mqtt.exchange = {TOPICS}

# A thousand hubs that come back at once wait for their turn; none is sent away half way in, or its
# handshake was for nothing and it knocks again. No hub waits longer itself.
ssl_handshake_timeout = 60000
mqtt.login_timeout = 60000
mqtt.tcp_listen_options.backlog = 2048

# Administrators come through this machine, or a tunnel to it.
management.tcp.ip = 127.0.0.1
management.tcp.port = {MANAGEMENT_PORT}

# A node that has gone silent is given up within these seconds and a quarter: until then what it
# leads takes nothing. One that stands still for less wakes up as if nothing had been; given up and
# awake again it must begin anew, as must a side that parted, which can take minutes. Messages are
# safe either way: quorum queues ask a majority.
net_ticktime = 60
cluster_partition_handling = autoheal

# A session lives where its hub is connected.
queue_master_locator = client-local

# A batch fits, little more does.
max_message_size = {PACKET_BYTES_MAX}
vm_memory_high_watermark.relative = 0.5
disk_free_limit.absolute = 2GB
log.console.level = warning

ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.depth = 3
ssl_options.honor_cipher_order = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2"""

_SUITES: Final = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def _queues(specs: Collection[QueueSpec]) -> Definitions:
    return {
        "queues": [
            _durable(spec.name) | {"arguments": dict(spec.arguments), "auto_delete": False}
            for spec in specs
        ],
        "policies": [_policy(spec.name, spec.limits) for spec in specs],
        "bindings": [
            _binding(each.exchange, spec.name, each.key) for spec in specs for each in spec.bindings
        ],
    }


def _durable(name: str) -> dict[str, Any]:
    return {"name": name, "vhost": VHOST, "durable": True}


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return _durable(name) | {
        "type": kind,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _policy(queue: str, limits: Mapping[str, object]) -> dict[str, Any]:
    return {
        "vhost": VHOST,
        "name": queue,
        "pattern": "^" + queue.replace(".", r"\.") + "$",
        "apply-to": "queues",
        "definition": dict(limits),
        "priority": 0,
    }


def _binding(exchange: str, queue: str, key: str) -> dict[str, Any]:
    return {
        "source": exchange,
        "vhost": VHOST,
        "destination": queue,
        "destination_type": "queue",
        "routing_key": key,
        "arguments": {},
    }
