"""The topology as data: nothing a hub says is without a queue, and no queue without a bound."""

import json
import re
from pathlib import Path

import pytest

import gateway
from gateway.cluster.files import conf, definitions, render
from gateway.cluster.topology import (
    EXCHANGES,
    LENT_MAX,
    hub_rights,
    log_spec,
    queue_specs,
    service_rights,
)
from tests.support.builders import HUB, NORTH
from tests.support.spellings import foreign_spellings
from wire import queues
from wire.ids import HubId, Region
from wire.topics import DOWNWARD, UPWARD, Channel, Lane, topic

SHIPPED = Path(gateway.__file__).parents[1] / "deploy" / "rabbitmq"


def permits(pattern: str, name: str) -> bool:
    """Judge as the broker does: an unanchored search; only its spelling of the end differs."""
    return re.search(pattern.replace(r"\z", r"\Z"), name) is not None


def binds(pattern: str, key: str) -> bool:
    words, found = pattern.split("."), key.split(".")
    return len(words) == len(found) and all(
        a in ("*", b) for a, b in zip(words, found, strict=True)
    )


def test_the_shipped_files_say_what_the_code_says() -> None:
    assert (SHIPPED / "definitions.json").read_text() == render(())
    assert (SHIPPED / "rabbitmq.conf").read_text() == conf()


def test_everything_a_hub_may_publish_has_a_queue() -> None:
    specs = (*queue_specs(), log_spec(NORTH))
    for channel in UPWARD:
        key = queues.routing_key(topic(NORTH, HUB, channel))
        reached = {s.name for s in specs for b in s.bindings if binds(b.key, key)}
        assert reached, channel
        assert permits(hub_rights(NORTH, HUB).publish, key)
    assert any(binds(b.key, "sensors.7.data") for s in specs for b in s.bindings)


@pytest.mark.spec("I10")
def test_a_regions_log_keeps_its_batches_and_no_other_regions() -> None:
    (batch, urgent) = (binding.key for binding in log_spec(NORTH).bindings)
    for key, channel in ((batch, Channel.BATCH), (urgent, Channel.URGENT)):
        assert binds(key, queues.routing_key(topic(NORTH, HUB, channel)))
        assert not binds(key, queues.routing_key(topic(Region("south"), HUB, channel)))


def test_every_queue_is_bounded_in_bytes_and_says_what_happens_when_it_is_full() -> None:
    for spec in queue_specs():
        assert int(spec.limits["max-length-bytes"]) > 0, spec.name
        assert spec.limits["overflow"] in ("reject-publish", "drop-head"), spec.name
        assert spec.arguments["x-queue-type"] == "quorum", spec.name
        if spec.limits.get("dead-letter-strategy") == "at-least-once":
            assert spec.limits["overflow"] == "reject-publish", "RabbitMQ would ignore it otherwise"
    log = log_spec(NORTH)
    assert int(log.limits["max-length-bytes"]) > 0
    assert log.limits["max-age"]


def test_rolling_every_node_while_readers_are_killed_makes_nobody_a_suspect() -> None:
    nodes, kills = 3, 2
    for spec in queue_specs():
        assert int(spec.limits.get("delivery-limit", LENT_MAX)) >= nodes + kills, spec.name


@pytest.mark.spec("Q1")
def test_lanes_have_their_exact_names_on_a_direct_exchange() -> None:
    assert EXCHANGES["lanes"] == "direct"
    lanes = [s for s in queue_specs() if any(b.exchange == "lanes" for b in s.bindings)]
    assert [s.name for s in lanes] == [
        "high_priority_queue",
        "medium_priority_queue",
        "low_priority_queue",
    ]
    assert [s.bindings[0].key for s in lanes] == [lane.value for lane in Lane]


@pytest.mark.spec("Q3")
def test_retries_wait_four_times_longer_each_time_and_go_back_to_the_lanes() -> None:
    waits = [s for s in queue_specs() if s.name.startswith("retry.")]
    assert [s.limits["message-ttl"] for s in waits] == [1_000, 4_000, 16_000, 64_000, 256_000]
    assert {s.limits["dead-letter-exchange"] for s in waits} == {"lanes"}
    assert all("dead-letter-routing-key" not in s.limits for s in waits), "the lane would be lost"


@pytest.mark.spec("U8")
def test_a_hub_may_use_its_own_topics_only_however_others_are_spelt() -> None:
    rights = hub_rights(NORTH, HUB)
    own = {queues.routing_key(topic(NORTH, HUB, each)): each for each in Channel}
    for key, channel in own.items():
        assert permits(rights.publish, key) == (channel in UPWARD)
        assert permits(rights.subscribe, key) == (channel in DOWNWARD)
    spelt = foreign_spellings(HUB, HubId("hub-2"))
    assert len(spelt) >= 200
    for each in spelt:
        key = each.replace("/", ".").replace("+", "*")
        assert not permits(rights.publish, key), each
        assert not permits(rights.subscribe, key), each


def test_a_hubs_session_is_its_own_though_another_hubs_name_begins_like_it() -> None:
    rights = hub_rights(NORTH, HubId("hub-1"))
    for mine in ("hub-1qos1", "hub-1qos0", "hub-1.0123456789abcdefqos1"):
        assert permits(rights.configure, f"mqtt-subscription-{mine}")
    for other in ("hub-11qos1", "hub-1-2qos1", "hub-2qos1", "hub-1qos1x", "hub-1.hub-2qos1"):
        assert not permits(rights.configure, f"mqtt-subscription-{other}")
    for queue in (*queues.Queue, *Lane, "log.north", "amq.default", "lanes"):
        assert not permits(rights.read, queue)
        assert not permits(rights.write, queue)


def test_stages_read_their_own_queues_and_declare_nothing() -> None:
    readers = {
        name: {s.name for s in (*queue_specs(), log_spec(NORTH)) if permits(rights.read, s.name)}
        for name, rights in service_rights().items()
    }
    assert readers == {
        "ingest": {"ingest", "dead_letters"},
        "detect": {"detect", "detect.urgent"},
        "alert": {"high_priority_queue"},
        "refresh": {"health", "medium_priority_queue"},
        "work": {"low_priority_queue", "dead_jobs"},
        "schedule": set(),
        "api": set(),
        "replay": {"log.north"},
    }
    assert {rights.configure for rights in service_rights().values()} == {"^$"}


def test_only_ingest_writes_receipts() -> None:
    receipt = queues.routing_key(topic(NORTH, HUB, Channel.RECEIPT))
    able = {name for name, rights in service_rights().items() if permits(rights.publish, receipt)}
    assert able == {"ingest"}


def test_nobody_in_the_definitions_has_a_password() -> None:
    assert {each["password_hash"] for each in definitions(())["users"]} == {""}
    assert "guest" not in json.dumps(definitions(()))
