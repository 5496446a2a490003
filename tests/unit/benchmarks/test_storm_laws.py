"""A storm's verdict is good only if every hub was back, every alert soon and every reading kept."""

import ssl
from collections.abc import Callable

import pytest

from benchmarks.storm_hubs import ROWS, StormHub
from benchmarks.storm_verdict import ALERT_WITHIN_MS, RETURN_WITHIN_S, Storm, verdict
from headgate.prove.account import NOTHING_LOST
from wire.ids import HubId

SERVED_S = 1_000.0


def a_hub(storm: Storm, number: int) -> StormHub:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return StormHub(number, HubId(f"hub-{number}"), 1, context, 0, storm.on_return)


def a_storm() -> tuple[Storm, list[StormHub], dict[int, int]]:
    """Return one of three hubs in which all went well, the last to be revoked."""
    storm = Storm(lambda line: None, died_s=SERVED_S - 10, served_s=SERVED_S)
    hubs = [a_hub(storm, number) for number in range(3)]
    for hub in hubs:
        storm.on_return(hub)
        storm.returned_s[hub.name] = SERVED_S + RETURN_WITHIN_S
    storm.on_alert(hubs[0].sensor_id, storm.sent_ns[hubs[0].sensor_id] + 1_000_000)
    return storm, hubs[:-1], {hubs[0].sensor_id: ROWS}


def late_hub(storm: Storm, stored: dict[int, int]) -> None:
    storm.returned_s[HubId("hub-1")] += 0.01


def missing_hub(storm: Storm, stored: dict[int, int]) -> None:
    del storm.returned_s[HubId("hub-2")]


def late_alert(storm: Storm, stored: dict[int, int]) -> None:
    (sensor_id,) = storm.sent_ns
    storm.came_ns[sensor_id] = storm.sent_ns[sensor_id] + round(ALERT_WITHIN_MS * 1e6) + 1


def no_alert(storm: Storm, stored: dict[int, int]) -> None:
    storm.came_ns.clear()


def lost_reading(storm: Storm, stored: dict[int, int]) -> None:
    (sensor_id,) = stored
    stored[sensor_id] -= 1


def test_a_storm_in_which_all_went_well_is_good() -> None:
    storm, hubs, stored = a_storm()
    assert verdict(storm, hubs, stored)["verdict"] == NOTHING_LOST


@pytest.mark.parametrize("fault", [late_hub, missing_hub, late_alert, no_alert, lost_reading])
def test_one_fault_spoils_it(fault: Callable[[Storm, dict[int, int]], None]) -> None:
    storm, hubs, stored = a_storm()
    fault(storm, stored)
    assert verdict(storm, hubs, stored)["verdict"] != NOTHING_LOST
