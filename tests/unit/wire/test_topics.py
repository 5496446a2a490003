"""wire.topics: a topic names exactly one channel of one hub, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import topics
from wire.errors import MalformedMessageError
from wire.ids import HubId, Region, SensorId
from wire.limits import SENSOR_ID_MAX
from wire.topics import Address, Channel, Lane

names = st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)


@given(names.map(Region), names.map(HubId), st.sampled_from(Channel))
def test_parse_undoes_topic(region: Region, hub_id: HubId, channel: Channel) -> None:
    assert topics.parse(topics.topic(region, hub_id, channel)) == Address(region, hub_id, channel)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "headgate/1/north/hub-1",
        "headgate/1/north/hub-1/batch/",
        "headgate/1/north/hub-1/batch/more",
        "headgate/2/north/hub-1/batch",
        "headgate/1/north/+/batch",
        "headgate/1/#",
        "headgate/1/North/hub-1/batch",
        "headgate/1//hub-1/batch",
        "headgate/1/north/" + "h" * 65 + "/batch",
        "headgate/1/north/hub-1/Batch",
        "headgate/1/north/hüb/batch",
        "$SYS/1/north/hub-1/batch",
        "headgate/1/lane/high",
        "headgate.1.north.hub-1.batch",
    ],
)
def test_anything_else_is_no_hubs_topic(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        topics.parse(text)


def test_a_lane_can_never_be_taken_for_a_hub() -> None:
    for lane in Lane:
        with pytest.raises(MalformedMessageError):
            topics.parse(topics.lane_topic(lane))


@pytest.mark.spec("Q1")
def test_lane_queues_have_the_customers_names() -> None:
    assert [str(lane) for lane in Lane] == [
        "high_priority_queue",
        "medium_priority_queue",
        "low_priority_queue",
    ]


@given(st.integers(0, SENSOR_ID_MAX).map(SensorId))
def test_sensor_topics_round_trip(sensor_id: SensorId) -> None:
    assert topics.parse_sensor_data(topics.sensor_data(sensor_id)) == sensor_id


@pytest.mark.parametrize(
    "text",
    [
        "sensors//data",
        "sensors/-1/data",
        "sensors/1.0/data",
        "sensors/9223372036854775808/data",
        "sensors/\uff11/data",
        "sensors/1/status",
        "sensors/1/data/x",
        "x/1/data",
    ],
)
def test_anything_else_is_no_sensors_topic(text: str) -> None:
    with pytest.raises(MalformedMessageError):
        topics.parse_sensor_data(text)
