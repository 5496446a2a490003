"""A door speaks as a hub does: under its own literal name, whatever it is asked to carry."""

from gateway.core.identity import STAGES, Identity, Role, digest, owns_client_id
from gateway.core.rules import may_publish, may_subscribe
from wire.ids import HubId, Region
from wire.topics import DOWNWARD, UPWARD, Channel, every_hub, topic

DOOR = Identity("http", Role.HTTP, Region("local"), digest("token"))


def test_a_door_says_and_hears_what_a_hub_does_and_nothing_of_others() -> None:
    for hub in ("http", "hub-1"):
        for channel in Channel:
            name = topic(Region("local"), HubId(hub), channel)
            assert may_publish(DOOR, name) == (hub == "http" and channel in UPWARD)
            assert may_subscribe(DOOR, name) == (hub == "http" and channel in DOWNWARD)
    assert not any(may_subscribe(DOOR, every_hub(channel)) for channel in Channel)
    assert not may_publish(DOOR, topic(Region("north"), HubId("http"), Channel.BATCH))


def test_doors_share_a_name_and_not_a_session() -> None:
    assert Role.HTTP in STAGES
    assert owns_client_id(DOOR, "http-0")
    assert owns_client_id(DOOR, "http-7")
    assert not owns_client_id(DOOR, "ingest-0")
