"""gateway.core.rules: an identity's topics are literal, and no spelling reaches past them."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.identity import Identity, Role, digest
from gateway.core.rules import may_publish, may_retain, may_subscribe
from wire.ids import Region
from wire.topics import Channel, Lane, every_hub, lane_topic

OWN = "headgate/1/north/hub-1/"
UP = {OWN + each for each in ("batch", "urgent", "hello", "health", "status")}
DOWN = {OWN + each for each in ("receipt", "desired")}
LEVELS = ["headgate", "1", "north", "hub-1", "hub-2", "south", "batch", "receipt", "+", "#", "",
          "$SYS", "$share", "g", "lane", "high", "HUB-1", "hub-1 ", "\x00", "..", "hub−1", "ｈub-1"]  # fmt: skip  # noqa: RUF001,E501


def an_identity(role: Role, name: str = "hub-1") -> Identity:
    return Identity(name, role, Region("north"), digest("token"))


HUB = an_identity(Role.HUB)
spellings = st.lists(st.sampled_from(LEVELS) | st.text(max_size=3), max_size=8).map("/".join)
mutations = st.sampled_from(sorted(UP | DOWN)).flatmap(
    lambda topic: st.builds(
        lambda at, text: topic[:at] + text + topic[at:],
        st.integers(0, len(topic)),
        st.text(st.sampled_from("/+#$ \x00.Aa-"), min_size=1, max_size=3),
    )
)


@pytest.mark.spec("I6")
@given(spellings | mutations)
@example("#")
@example("+/+/+/+/+")
@example("headgate/1/north/+/batch")
@example("$share/g/headgate/1/north/hub-1/receipt")
@example("/headgate/1/north/hub-1/batch")
@example("headgate/1/north/hub-1/batch/")
@example("headgate/1/north//hub-1/batch")
def test_a_hub_never_speaks_or_listens_outside_its_own_topics(spelling: str) -> None:
    assert may_publish(HUB, spelling) == (spelling in UP)
    assert may_subscribe(HUB, spelling) == (spelling in DOWN)


@pytest.mark.spec("I6")
def test_two_hundred_odd_spellings_are_all_refused() -> None:
    odd = [f"headgate/1/{region}/{hub}/{channel}"
           for region, hub, channel in itertools.product(
               ("north", "+", "#", "North", "north "), ("hub-1", "hub-2", "+", "", "hub-1\x00"),
               ("batch", "receipt", "+", "#", "BATCH", "status/", "batch "))]  # fmt: skip
    odd += [prefix + OWN + "batch" for prefix in ("/", "$", "$SYS/", "$share/g/", " ", "./")]
    odd += ["", "/", "#", "+", "$SYS/#", "headgate/#", "headgate/1/north/#", OWN, OWN + "#"]
    foreign = [each for each in odd if each not in UP | DOWN]
    assert len(foreign) >= 180
    assert not [each for each in foreign if may_publish(HUB, each) or may_subscribe(HUB, each)]


def test_a_hub_has_every_topic_it_needs() -> None:
    assert all(may_publish(HUB, each) and not may_subscribe(HUB, each) for each in UP)
    assert all(may_subscribe(HUB, each) and not may_publish(HUB, each) for each in DOWN)


@pytest.mark.parametrize(
    ("role", "filters", "topics"),
    [
        (
            Role.INGEST,
            {every_hub(Channel.BATCH), every_hub(Channel.URGENT), every_hub(Channel.HELLO)},
            {OWN + "receipt", lane_topic(Lane.MEDIUM)},
        ),
        (Role.DETECT, {every_hub(Channel.BATCH), every_hub(Channel.URGENT)},
         {lane_topic(Lane.HIGH)}),
        (Role.ALERT, {lane_topic(Lane.HIGH)}, set()),
        (Role.REFRESH, {every_hub(Channel.HEALTH), every_hub(Channel.STATUS),
                        lane_topic(Lane.MEDIUM)}, set()),
        (Role.API, set(), set()),
    ],
)  # fmt: skip
def test_a_stage_may_do_its_work_and_nothing_else(
    role: Role, filters: set[str], topics: set[str]
) -> None:
    stage = an_identity(role, role.value)
    everything = (
        UP | DOWN | {every_hub(each) for each in Channel} | {lane_topic(each) for each in Lane}
    ) | {"#", "headgate/#", "+/+/+/+/+", "$SYS/#"}
    assert {each for each in everything if may_subscribe(stage, each)} == filters
    assert {each for each in everything if may_publish(stage, each)} == topics


def test_only_a_hubs_status_is_kept() -> None:
    assert {each for each in UP | DOWN if may_retain(each)} == {OWN + "status"}
    assert not may_retain(lane_topic(Lane.HIGH))
